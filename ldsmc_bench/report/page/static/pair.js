// Two rows of the leaderboard: the mean difference on common images, and the images on which they differ most.

const MOST_DIFFERENT = 4; // images to either side
const pair = { differences: {} };

/** The differences of two entries, and whether they are to be turned round. */
function differenceOf(a, b) {
  const [low, high] = [Math.min(a, b), Math.max(a, b)];
  return { found: pair.differences[`${low} ${high}`], turned: a > b };
}

async function openPair(first, second) {
  pair.differences = await load("pairs");
  const there = new Set(Object.keys(pair.differences).flatMap((key) => key.split(" ").map(Number)));
  const a = document.getElementById("pair-a");
  const several = new Set(PAGE.entries.filter((entry) => there.has(entry.place)).map((entry) => entry.board)).size > 1;
  pair.name = (entry) => entryName(entry) + (several ? ` · ${PAGE.boards[entry.board]}` : "");
  choices(a, PAGE.entries.filter((entry) => there.has(entry.place)).map((entry) => [String(entry.place), pair.name(entry)]));
  if (first) a.value = String(first.place);
  drawPair(second);
  const dialog = document.getElementById("pair");
  if (!dialog.open) dialog.showModal();
}

function makePair() {
  const dialog = document.getElementById("pair");
  document.getElementById("pair-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const id of ["pair-a", "pair-b"]) document.getElementById(id).addEventListener("change", () => drawPair());
  for (const id of ["pair-metric", "pair-seed"]) document.getElementById(id).addEventListener("change", drawPairImages);
  const id = (which) => PAGE.entries[document.getElementById(which).value]?.runs[0] ?? "";
  addressDialog("pair", dialog, () => [id("pair-a"), id("pair-b")].join("*"), (text) => {
    const [first, second] = text.split("*").map((runId) => ENTRY.get(runId));
    if (first) openPair(first, second);
  });
}

function drawPair(second) {
  const a = PAGE.entries[document.getElementById("pair-a").value];
  const select = document.getElementById("pair-b");
  const others = a ? PAGE.entries.filter((entry) => differenceOf(a.place, entry.place).found) : [];
  choices(select, others.map((entry) => [String(entry.place), pair.name(entry)]));
  if (second && others.includes(second)) select.value = String(second.place);
  const b = PAGE.entries[select.value];
  const place = document.getElementById("pair-numbers");
  document.getElementById("pair-none").hidden = Boolean(b);
  if (!b) return [place, document.getElementById("pair-images")].forEach((node) => node.replaceChildren());
  const { found, turned } = differenceOf(a.place, b.place);
  const mean = (entry, column) => element("td", { class: "numeric" }, valueCell(entry, column));
  place.replaceChildren(
    element("caption", {}, `${entryName(a)} and ${entryName(b)}`),
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "metric"),
      ...["difference [95 %]", entryName(a), entryName(b), "first better on"].map((head) => element("th", { scope: "col", class: "numeric" }, head)))),
    element("tbody", {}, ...boardColumns([a, b]).map((column) => element("tr", {},
      element("th", { scope: "row" }, `${column.label} `, element("small", { class: "wide" }, goodness(column) ?? "")),
      differenceCell(found[column.key], turned, column), mean(a, column), mean(b, column), betterCell(found[column.key], turned)))));
  const shown = PAGE.columns.filter((column) => found[column.key]);
  choices(document.getElementById("pair-metric"), shown.map((column) => [column.key, column.label]));
  const seeds = a.runs.flatMap((one) => b.runs.filter((other) => RUN.get(one).problem && RUN.get(one).problem === RUN.get(other).problem)
    .map((other) => [`${one} ${other}`, String(RUN.get(one).seed)]));
  choices(document.getElementById("pair-seed"), seeds);
  return drawPairImages();
}

function differenceCell(difference, turned, column) {
  if (!difference) return element("td", { class: "numeric" }, "–");
  const [mean, low, high] = difference;
  const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${number(value, column.digits)}`);
  const [centre, ...ends] = turned ? [-mean, high === null ? null : -high, low === null ? null : -low] : [mean, low, high];
  const sure = low !== null && (low > 0 || high < 0);
  return element("td", { class: "numeric" }, element(sure ? "b" : "span", {}, signed(centre)),
    low === null ? "" : element("small", {}, ` [${ends.map(signed).join(", ")}]`));
}

function betterCell(difference, turned) {
  if (!difference) return element("td", { class: "numeric" }, "–");
  const [images, seeds, ...better] = difference.slice(3);
  return element("td", { class: "numeric" }, `${better[Number(turned)]} of ${images} images`,
    element("small", {}, seeds > 1 ? `, ${seeds} seeds` : ""));
}

function drawPairImages() {
  const metric = COLUMN.get(document.getElementById("pair-metric").value);
  const ids = document.getElementById("pair-seed").value.split(" ").filter(Boolean);
  const runs = ids.map((id) => RUN.get(id));
  const place = document.getElementById("pair-images");
  return latest("pair", () => (metric && runs.length ? columnsOf(runs[0].problem, runs) : null), (found) => {
    if (!found) return place.replaceChildren(element("p", { class: "note" }, "No pictures of both on one measurement."));
    const [a, b] = found.columns.filter((column) => column.run);
    const score = (column, id) => merit(metric, valueOf(column, id, metric.key));
    const both = found.ids.filter((id) => [a, b].every((column) => valueOf(column, id, metric.key) !== null && pictured(column, id)))
      .sort((one, other) => (score(a, other) - score(b, other)) - (score(a, one) - score(b, one)));
    const difference = { key: "difference", name: "|difference| × 4", pictures: a.pictures, over: b.pictures };
    const columns = [...found.columns, difference];
    const rows = (some) => some.map((id) => element("tr", {}, element("th", { scope: "row" }, id), ...columns.map((column) =>
      element("td", {}, column === difference ? picture(difference, id, "small") : tile(runs[0].problem, column, id, metric,
        () => openCompare(runs[0].problem, id, b.key, a.key))))));
    const group = (text, some) => (some.length ? element("tbody", {}, element("tr", {},
      element("th", { colspan: columns.length + 1, scope: "rowgroup", class: "group" }, text)), ...rows(some)) : null);
    const better = both.filter((id) => score(a, id) > score(b, id)).slice(0, MOST_DIFFERENT);
    const worse = both.filter((id) => score(a, id) < score(b, id)).slice(-MOST_DIFFERENT).reverse();
    const names = PAGE.entries[document.getElementById("pair-a").value] && [a, b].map((column) => column.name);
    return place.replaceChildren(element("table", { class: "wall" },
      element("caption", {}, "Images on which the two differ most"),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "image"),
        ...columns.map((column) => element("th", { scope: "col" }, column.name)))),
      ...[group(`${names[0]} better by most in ${metric.label}`, better), group(`${names[1]} better by most in ${metric.label}`, worse)].filter(Boolean)));
  });
}

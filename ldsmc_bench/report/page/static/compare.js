// Before and after: two pictures of one image, one over the other, and a slider between them.

const comparison = { problem: null, image: null, columns: [], ids: [] };

/** Columns are named by `truth`, `measurement`, a run's id, or that with a layer: `<run id>~error`. */
async function openCompare(problemKey, imageId, columnKey, leftKey) {
  const runs = ordered.filter((run) => run.problem === problemKey).slice(0, WIDEST);
  for (const key of [leftKey, columnKey]) {
    const run = RUN.get(key?.split("~")[0]);
    if (run && !runs.includes(run)) runs.unshift(run);
  }
  const found = await columnsOf(problemKey, runs);
  const columns = [...found.columns, ...found.columns.filter((column) => column.run).flatMap((column) =>
    found.layers.map((layer) => layered(column, layer)).filter((one) => one.pictures))];
  const ids = found.ids;
  Object.assign(comparison, { problem: problemKey, image: imageId, columns, ids });
  const options = columns.map((column) => [column.key, column.name]);
  const [left, right] = ["compare-left", "compare-right"].map((id) => document.getElementById(id));
  choices(left, options);
  choices(right, options);
  const others = columns.map((column) => column.key).filter((key) => key !== columnKey);
  left.value = leftKey ?? (columnKey === "truth" ? "measurement" : others.find((key) => key === "truth") ?? others[0] ?? columnKey);
  right.value = columnKey;
  document.getElementById("slider").value = 50;
  drawCompare();
  const dialog = document.getElementById("compare");
  if (!dialog.open) dialog.showModal();
  document.getElementById("slider").focus();
}

function makeCompare() {
  const dialog = document.getElementById("compare");
  const turn = (by) => () => {
    const { ids, image } = comparison;
    comparison.image = ids[(ids.indexOf(image) + by + ids.length) % ids.length];
    drawCompare();
  };
  document.getElementById("compare-previous").addEventListener("click", turn(-1));
  document.getElementById("compare-next").addEventListener("click", turn(1));
  document.getElementById("compare-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  for (const id of ["compare-left", "compare-right"]) document.getElementById(id).addEventListener("change", drawCompare);
  document.getElementById("slider").addEventListener("input", slide);
  const sides = () => ["compare-left", "compare-right"].map((id) => document.getElementById(id).value);
  addressDialog("image", dialog, () => [comparison.problem, comparison.image, ...sides()].join("*"), (text) => {
    const [problem, image, leftKey, rightKey] = text.split("*");
    if (PROBLEM.has(problem)) openCompare(problem, image, rightKey, leftKey);
  });
}

function drawCompare() {
  const { image, columns } = comparison;
  document.getElementById("compare-title").textContent = image;
  for (const side of ["left", "right"]) {
    const column = columns.find((one) => one.key === document.getElementById(`compare-${side}`).value);
    document.getElementById(`tag-${side}`).textContent = column.name;
    document.getElementById(`layer-${side}`).replaceChildren(large(column, image));
  }
  const shown = PAGE.columns.filter((column) => !column.set && columns.some((one) => one.rows?.values[column.key]));
  const runs = columns.filter((column) => column.run && !column.layer);
  document.getElementById("compare-numbers").replaceChildren(
    element("caption", {}, `Scores of ${image}`),
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "run"),
      ...shown.map((column) => element("th", { scope: "col", class: "numeric" }, column.label)))),
    element("tbody", {}, ...runs.map((one) => element("tr", {},
      element("th", { scope: "row" }, dot(one.run.method), one.name),
      ...shown.map((column) => element("td", { class: "numeric" }, number(valueOf(one, image, column.key), column.digits)))))));
  slide();
}

/** The kept picture itself where the store lies beside the page, else the small one. */
function large(column, image) {
  const label = `${image}: ${column.name}`;
  const fallback = () => {
    const node = element("span", { class: "picture large", role: "img", "aria-label": label });
    if (pictured(column, image)) crop(node, column, image, true);
    else node.append(element("span", { class: "absent" }, "missing"));
    return node;
  };
  if (!column.run || column.layer || !pictured(column, image)) return fallback();
  const kept = element("img", { class: "large", alt: label, draggable: "false",
    src: `../runs/${encodeURIComponent(column.key)}/images/${encodeURIComponent(image)}.png` });
  kept.addEventListener("error", () => kept.replaceWith(fallback()));
  return kept;
}

function slide() {
  const slider = document.getElementById("slider");
  const [left, right] = ["left", "right"].map((side) => document.getElementById(`tag-${side}`).textContent);
  document.querySelector(".stage").style.setProperty("--share", `${slider.value}%`);
  slider.setAttribute("aria-valuetext", `${slider.value} % ${left}, ${100 - slider.value} % ${right}`);
}

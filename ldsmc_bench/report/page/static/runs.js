// The table of runs, and the rows of one of them.

let runTable;
let ordered = []; // the runs shown, in the order of the table
let bestOf = new Map(); // by task and column, the best mean among them

function taskOf(run) {
  return `${run.task} ${run.dataset}`;
}

/** How good a mean is as it is printed: what reads alike is equally good. */
function printed(column, mean) {
  return merit(column, Number(mean.toFixed(column.digits)));
}

function noteBest(runs) {
  bestOf = new Map();
  for (const run of runs) {
    for (const [key, [mean]] of Object.entries(run.values)) {
      if (COLUMN.get(key).cost) continue; // the cheapest is not the best
      const name = `${taskOf(run)} ${key}`;
      bestOf.set(name, Math.max(bestOf.get(name) ?? -Infinity, printed(COLUMN.get(key), mean)));
    }
  }
}

function meanCell(run, column) {
  if (run.values[column.key] === undefined) return run.skipped ? element("abbr", { title: run.skipped }, "skipped") : "–";
  const [mean, error] = run.values[column.key];
  const best = printed(column, mean) === bestOf.get(`${taskOf(run)} ${column.key}`);
  const value = element(best ? "b" : "span", { class: best ? "best" : null }, number(mean, column.digits));
  const told = error !== null && !(column.cost && error < 0.5 * 10 ** -column.digits); // counts mostly do not vary
  return element("span", { class: "mean", title: interval(run, column) }, value,
    told ? element("small", {}, ` ± ${number(error, column.digits)}`) : null);
}

function imagesCell(run) {
  const lost = [[run.n_failed, "failed"], [run.n_skipped, "skipped"]].filter(([count]) => count)
    .map(([count, what]) => `${count} ${what}`);
  const missing = Math.max(0, run.n_requested - run.n - run.n_failed - run.n_skipped);
  if (missing) lost.push(`${missing} missing`);
  return element("span", {}, String(run.n), lost.length ? element("small", { class: "lost" }, ` ${lost.join(", ")}`) : null);
}

function makeRuns() {
  const varies = (key) => new Set(PAGE.runs.map((run) => run[key])).size > 1;
  const label = (key, text, numeric = false) => ({ label: text, numeric, value: (run) => (numeric ? run[key] : called(key, run[key])),
    cell: (run) => (run[key] === null ? "–" : called(key, run[key])) });
  const columns = [
    { label: "Method", head: true, value: (run) => `${called("method", run.method)} ${run.settings}`, cell: (run) => element("button",
      { type: "button", class: "link", title: `${run.run_id}: show its images`, onclick: () => showImages(run.run_id) },
      dot(run.method), called("method", run.method), run.settings ? element("small", {}, run.settings) : null) },
    label("task", "Task"),
    ...["variant", "dataset", "prior"].filter(varies).map((key) => label(key, key[0].toUpperCase() + key.slice(1))),
    label("particles", "N", true),
    label("steps", "Steps", true),
    ...(varies("seed") ? [label("seed", "Seed", true)] : []),
    ...PAGE.columns.map((column) => ({
      label: column.label, numeric: true, descending: column.better === "higher",
      title: `${column.how}${column.unit ? ` [${column.unit}]` : ""}; ${goodness(column)}`,
      value: (run) => run.values[column.key]?.[0],
      cell: (run) => meanCell(run, column),
    })),
    { label: "Images", numeric: true, value: (run) => run.n, cell: imagesCell },
  ];
  runTable = sortable(document.getElementById("run-table"), {
    caption: "Runs, their mean scores and what they cost", columns, sorted: 1,
    change: (rows) => { ordered = rows; drawWall(); },
  });
}

function showRuns(runs) {
  noteBest(runs);
  ordered = runTable.show(runs);
}

function goodness(column) {
  return { higher: "higher is better", lower: "lower is better", one: "1 is right" }[column.better];
}

async function showImages(runId) {
  document.getElementById("image-run").value = runId;
  drawImages();
  document.getElementById("images").scrollIntoView();
  document.getElementById("image-run").focus({ preventScroll: true });
}

function makeImages() {
  document.getElementById("image-run").addEventListener("change", drawImages);
  document.getElementById("image-words").addEventListener("input", drawImages);
  whenSeen("images", drawImages);
}

function listImages(runs) {
  choices(document.getElementById("image-run"), runs.map((run) => [run.run_id, `${called("task", run.task)}: ${run.name}`]));
  if (seen.has("images")) drawImages();
}

function drawImages() {
  const run = RUN.get(document.getElementById("image-run").value);
  const place = document.getElementById("image-table");
  return latest("images", () => (run ? rowsOf(run.run_id) : null), (told) => {
    if (!told) {
      document.getElementById("image-count").textContent = "";
      return place.replaceChildren(element("p", { class: "note" }, "No run is shown."));
    }
    const keys = PAGE.columns.filter((column) => told.values[column.key]);
    const columns = [
      { label: "Image", head: true, value: (i) => told.ids[i], cell: (i) => run.problem && !told.lost[i]
        ? element("button", { type: "button", class: "link", onclick: () => openCompare(run.problem, told.ids[i], run.run_id) },
          picture(sheetOf(told.pictures), told.ids[i], "mini"), told.ids[i])
        : told.ids[i] },
      ...keys.map((column) => ({ label: column.label, numeric: true, title: `${column.how}; ${goodness(column)}`,
        descending: column.better === "higher", value: (i) => told.values[column.key][i],
        cell: (i) => number(told.values[column.key][i], column.digits) })),
      { label: "Status", value: (i) => told.lost[i]?.join(": ") ?? "ok",
        cell: (i) => (told.lost[i] ? element("span", { class: "lost" }, told.lost[i].join(": ")) : "ok") },
    ];
    const words = document.getElementById("image-words").value.toLowerCase();
    const found = told.ids.map((_, i) => i).filter((i) => told.ids[i].toLowerCase().includes(words));
    document.getElementById("image-count").textContent = `${found.length} of ${told.ids.length} images`;
    const caption = `Images of ${called("task", run.task)}: ${run.name}`;
    return sortable(place, { caption, columns, sorted: 0, size: 25 }).show(found);
  });
}

// The table of runs, and the rows of one of them.

let runTable;
let imageTable = null;
let ordered = []; // the runs shown, in the order of the table

function taskOf(run) {
  return `${run.task} ${run.dataset}`;
}

function meanCell(run, column) {
  if (run.values[column.key] === undefined) return run.skipped ? element("abbr", { title: run.skipped }, "skipped") : "–";
  const [mean, error] = run.values[column.key];
  return element("span", { class: "mean", title: interval(run, column) }, number(mean, column.digits),
    element("small", {}, plusMinus(mean, error, column.digits)));
}

function makeRuns() {
  const varies = (key) => new Set(PAGE.runs.map((run) => run[key])).size > 1;
  const label = (key, text, numeric = false) => ({ key, label: text, numeric, value: (run) => (numeric ? run[key] : called(key, run[key])),
    cell: (run) => (run[key] === null ? "–" : called(key, run[key])) });
  const columns = [
    { key: "method", label: "Method", head: true, value: (run) => `${called("method", run.method)} ${run.settings}`.trim(), cell: (run) =>
      element("span", { class: "who" }, element("button", { type: "button", class: "link", title: `${run.run_id}: its configuration, command and code`,
        onclick: () => openDrawer(run.run_id) }, dot(run.method), called("method", run.method)),
      run.settings ? element("small", {}, run.settings) : null,
      element("small", { class: "narrow" }, [called("task", run.task), `N=${run.particles}`, varies("seed") ? `seed=${run.seed}` : ""].filter(Boolean).join(" ")),
      badge(lackingOf(run), run.skipped)) },
    { ...label("task", "Task"), wide: true },
    ...PAGE.columns.map((column) => ({
      key: column.key, label: column.label, numeric: true, optional: true, descending: column.better === "higher",
      title: protocolOf(column), value: (run) => run.values[column.key]?.[0],
      cell: (run) => meanCell(run, column), beside: [{ key: `${column.key}_se`, value: (run) => run.values[column.key]?.[1] }],
    })),
    { key: "n", label: "Images", numeric: true, value: (run) => run.n, cell: (run) => String(run.n) },
    label("particles", "N", true),
    label("steps", "Steps", true),
    ...(varies("seed") ? [label("seed", "Seed", true)] : []),
    ...["variant", "dataset", "prior"].filter(varies).map((key) => label(key, key[0].toUpperCase() + key.slice(1))),
  ];
  runTable = sortable(document.getElementById("run-table"), {
    caption: "Runs, their mean scores and what they cost", columns, sorted: 1,
    change: (rows) => { ordered = rows; drawWall(); },
    attributes: (run) => (lackingOf(run) ? { class: "unfinished" } : {}),
  });
  address("runs", runTable.order, runTable.sort);
  document.getElementById("run-csv").addEventListener("click", () =>
    save("runs.csv", "text/csv", runTable.csv([{ key: "run_id", value: (run) => run.run_id }])));
}

function showRuns(runs) {
  ordered = runTable.show(runs);
  document.getElementById("run-none").replaceChildren(...(runs.length ? [] : [nothing()]));
  document.getElementById("run-table").hidden = !runs.length;
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
  document.getElementById("image-csv").addEventListener("click", () => {
    if (imageTable) save(`${document.getElementById("image-run").value}.csv`, "text/csv", imageTable.csv());
  });
  addressControl("images", "image-run");
  whenSeen("images", drawImages);
}

function listImages(runs) {
  choices(document.getElementById("image-run"), runs.map((run) => [run.run_id, `${called("task", run.task)}: ${run.name}`]));
  if (seen.has("images")) drawImages();
}

function drawImages() {
  imageTable = null;
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
          picture({ pictures: sheetOf(told.pictures) }, told.ids[i], "mini"), told.ids[i])
        : told.ids[i] },
      ...keys.map((column) => ({ label: column.label, numeric: true, title: protocolOf(column),
        descending: column.better === "higher", value: (i) => told.values[column.key][i],
        cell: (i) => number(told.values[column.key][i], column.digits) })),
      { label: "Status", value: (i) => told.lost[i]?.join(": ") ?? "ok",
        cell: (i) => (told.lost[i] ? element("span", { class: "lost" }, told.lost[i].join(": ")) : "ok") },
    ];
    const words = document.getElementById("image-words").value.toLowerCase();
    const found = told.ids.map((_, i) => i).filter((i) => told.ids[i].toLowerCase().includes(words));
    document.getElementById("image-count").textContent = `${found.length} of ${told.ids.length} images`;
    const caption = `Images of ${called("task", run.task)}: ${run.name}`;
    imageTable = sortable(place, { caption, columns, sorted: 0, size: 25 });
    return imageTable.show(found);
  });
}

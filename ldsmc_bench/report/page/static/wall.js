// The picture wall: a row an image; truth, measurement and every run side by side, from sheets of small pictures.

const WIDEST = 24; // runs beside each other
const WALL_ROWS = 16;
let wallPage = 0;

const loading = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    entry.target.style.backgroundImage = entry.target.dataset.sheet;
    loading.unobserve(entry.target);
  }
}, { rootMargin: "300px" });

/** Sheets with the place of every image in them; null where there are none. */
function sheetOf(pictures) {
  if (pictures) pictures.place ??= new Map(pictures.ids.map((id, i) => [id, i]));
  return pictures ?? null;
}

/** An image's part of its sheet, as the parts of a background. */
function part(pictures, imageId, full) {
  const i = pictures.place.get(imageId);
  const block = Math.floor(i / PAGE.block), at = i % PAGE.block;
  const rows = Math.ceil(Math.min(PAGE.block, pictures.ids.length - block * PAGE.block) / PAGE.across);
  const files = full && pictures.full?.length ? pictures.full : pictures.files;
  const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
  return { sheet: `url("pictures/${pictures.folder}/${files[block]}")`, size: `${100 * PAGE.across}% ${100 * rows}%`,
    position: `${share(at % PAGE.across, PAGE.across)}% ${share(Math.floor(at / PAGE.across), rows)}%` };
}

/** Show an image of a column in a node once that is near the window: with `over` its grey difference from that, times 4. */
function crop(node, { pictures, over }, imageId, full = false) {
  const layers = (over ? [pictures, over] : [pictures]).map((one) => part(one, imageId, full));
  node.dataset.sheet = layers.map((layer) => layer.sheet).join(", ");
  node.style.backgroundSize = layers.map((layer) => layer.size).join(", ");
  node.style.backgroundPosition = layers.map((layer) => layer.position).join(", ");
  node.classList.toggle("difference", Boolean(over));
  loading.observe(node);
}

/** Whether a column has a picture of an image. */
function pictured({ pictures, over }, imageId) {
  return Boolean(pictures?.place.has(imageId) && (!over || over.place.has(imageId)));
}

/** A small picture for the eye only: its text stands beside it. */
function picture(column, imageId, kind) {
  const node = element("span", { class: `picture ${kind}`, "aria-hidden": "true" });
  if (pictured(column, imageId)) crop(node, column, imageId);
  return node;
}

const LAYERS = { error: "|x̂ − x| × 4", spread: "spread × 4" };

/** A run's column as another layer shows it: its error, the particles' spread, another draw. */
function layered(column, layer) {
  if (!layer || !column.run) return column;
  return { ...column, pictures: sheetOf(column.rows.layers?.[layer]), key: `${column.key}~${layer}`,
    name: `${column.name}, ${LAYERS[layer] ?? layer}`, layer };
}

function layersOf(columns) {
  const found = new Set(columns.flatMap((column) => Object.keys(column.rows?.layers ?? {})));
  return [...found].sort((a, b) => (b in LAYERS) - (a in LAYERS) || a.localeCompare(b, "en", { numeric: true }));
}


/** What the wall shows of a problem: the columns with their pictures and rows, and all image ids. */
async function columnsOf(problemKey, runs) {
  const [problem, ...told] = await Promise.all([load(problemKey), ...runs.map((run) => rowsOf(run.run_id))]);
  const posed = problem.missing ? [] : ["truth", "measurement"].map((which) => (
    { key: which, name: which, pictures: sheetOf(problem[which]) }));
  const restored = runs.map((run, i) => (
    { key: run.run_id, name: run.short, run, rows: told[i], pictures: sheetOf(told[i].pictures) }));
  const ids = [...new Set(told.flatMap((rows) => rows.ids))].sort();
  const columns = [...posed, ...restored];
  return { problem, columns, ids, layers: layersOf(columns) };
}

/** A column's number of an image; of another draw that draw's own, not the first one's. */
function valueOf(column, imageId, key) {
  const rows = !column.layer || column.layer in LAYERS ? column.rows : column.pictures;
  const place = rows?.place.get(imageId);
  return place === undefined ? null : rows.values?.[key]?.[place] ?? null;
}

function makeWall() {
  const metric = document.getElementById("wall-metric");
  choices(metric, PAGE.columns.filter((c) => !c.set && !c.cost).map((c) => [c.key, c.label]));
  const names = { problem: "wall-problem", under: "wall-metric", order: "wall-order", layer: "wall-layer" };
  for (const [name, id] of Object.entries(names)) addressControl(name, id);
  for (const control of Object.values(names).map((id) => document.getElementById(id))) {
    control.addEventListener("change", () => { wallPage = 0; drawWall(); });
  }
  whenSeen("pictures", drawWall);
}

function showWall(runs) {
  const keys = new Set(runs.map((run) => run.problem));
  choices(document.getElementById("wall-problem"),
    PAGE.problems.filter((p) => keys.has(p.key)).map((p) => [p.key, p.label]));
  wallPage = 0;
  drawWall();
}

function drawWall() {
  if (!seen.has("pictures")) return undefined;
  const key = document.getElementById("wall-problem").value;
  const place = document.getElementById("wall");
  const all = ordered.filter((run) => run.problem === key);
  const runs = all.slice(0, WIDEST);
  return latest("wall", () => (runs.length ? columnsOf(key, runs) : null), (found) => {
    if (!found) {
      document.getElementById("wall-note").textContent = "";
      return place.replaceChildren(element("p", { class: "note" }, "No run with pictures is shown."));
    }
    const { problem, ids } = found;
    choices(document.getElementById("wall-layer"), [["", "restored"], ...found.layers.map((layer) => [layer, LAYERS[layer] ?? layer])]);
    const layer = document.getElementById("wall-layer").value;
    const columns = found.columns.map((column) => layered(column, layer));
    const notes = ["Any picture opens a comparison. Arrow keys move between pictures."];
    if (problem.missing) notes.unshift(`Truth and measurement cannot be shown: ${problem.missing}.`);
    if (all.length > runs.length) notes.push(`The first ${runs.length} of ${all.length} runs: filter to see others.`);
    document.getElementById("wall-note").textContent = notes.join(" ");
    const metric = COLUMN.get(document.getElementById("wall-metric").value);
    const order = inOrder(ids, columns, metric, document.getElementById("wall-order").value);
    const start = wallPage * WALL_ROWS;
    const head = element("tr", {}, element("th", { scope: "col" }, "image"), ...columns.map((column) =>
      element("th", { scope: "col" }, column.run ? dot(column.run.method) : null, column.name)));
    const rows = order.slice(start, start + WALL_ROWS).map((id) => element("tr", {}, element("th", { scope: "row" }, id),
      ...columns.map((column) => element("td", {}, tile(key, column, id, metric)))));
    const table = element("table", { class: "wall" }, element("caption", {}, PROBLEM.get(key).label),
      element("thead", {}, head), element("tbody", {}, ...rows));
    arrows(table);
    const pager = pages((page) => { wallPage = page; drawWall(); document.getElementById("pictures").scrollIntoView(); });
    pager.show(wallPage, order.length, WALL_ROWS);
    return place.replaceChildren(
      element("div", { class: "scroll", role: "region", "aria-label": "Picture wall" }, table), pager.node);
  });
}

function inOrder(ids, columns, metric, order) {
  if (order === "id" || !metric) return ids;
  const score = new Map(ids.map((id) => {
    const values = columns.map((column) => valueOf(column, id, metric.key)).filter((value) => value !== null)
      .map((value) => merit(metric, value));
    if (!values.length) return [id, -Infinity];
    const mean = values.reduce((a, b) => a + b) / values.length;
    return [id, { hard: -mean, easy: mean, differ: Math.max(...values) - Math.min(...values) }[order]];
  }));
  return [...ids].sort((a, b) => score.get(b) - score.get(a));
}

function tile(problemKey, column, id, metric, open = null) {
  const value = metric ? valueOf(column, id, metric.key) : null;
  const score = value === null ? "" : number(value, metric.digits);
  if (!pictured(column, id)) {
    const place = column.rows?.place.get(id);
    const reason = column.rows?.lost[place]?.join(": ");
    return element("span", { class: "absent", title: reason }, reason ? reason.split(":")[0] : "missing");
  }
  const label = `${id}, ${column.name}${score ? `, ${metric.label} ${score}` : ""}`;
  return element("button", { type: "button", class: "tile", tabindex: open === null ? "-1" : "0", "aria-label": label, title: label,
    onclick: open ?? (() => openCompare(problemKey, id, column.key)) },
  picture(column, id, "small"), score ? element("small", { "aria-hidden": "true" }, score) : null);
}

/** One stop for the tab key; arrow keys, Home and End move between the pictures. */
function arrows(table) {
  const grid = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.querySelector("button")));
  const first = table.querySelector("button.tile");
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const at = event.target.closest("td");
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!at || !(move || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    let [row, column] = [at.parentElement.sectionRowIndex, at.cellIndex];
    let target = null;
    if (move) {
      do { row += move[0]; column += move[1]; } while (grid[row]?.[column] === null && column > 0);
      target = grid[row]?.[column];
    } else {
      const there = grid[row].filter(Boolean);
      target = event.key === "Home" ? there[0] : there.at(-1);
    }
    if (!target) return;
    for (const tabbed of table.querySelectorAll('button.tile[tabindex="0"]')) tabbed.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  });
}

// The leaderboard: of one problem, methods in all their seeds, ranked and tested as in the tables of the command line.

const [VALUE, ERROR, RANK, MARK, TIED, OF_IMAGES, OF_SEEDS] = [0, 1, 2, 3, 4, 5, 6]; // the parts of an entry's value
const PREFERRED = ["lpips_vgg", "toyfaces_perceptual", "psnr"]; // the first that is there ranks at first
let boardTable, boardShown = [], boardOrder = "";

for (const [place, entry] of PAGE.entries.entries()) entry.place = place;
const ENTRY = new Map(PAGE.entries.flatMap((entry) => entry.runs.map((run) => [run, entry])));

function entryName(entry) {
  return [called("method", entry.method), entry.settings].filter(Boolean).join(" ");
}

/** What an entry lacks, in a few words: `2 of 6 images`, of one of its seeds `seed 1: 2 of 6 images`, or null. */
function lacking(entry) {
  if (entry.skipped) return "skipped";
  const found = entry.runs.map((id) => RUN.get(id)).map((run) => [run.seed, lackingOf(run)]);
  const lost = found.filter(([, text]) => text);
  if (lost.length === found.length && new Set(lost.map(([, text]) => text)).size === 1) return lost[0][1];
  return lost.length > 2 ? `${lost.length} of ${found.length} seeds lack images` : lost.map(([seed, text]) => `seed ${seed}: ${text}`).join("; ") || null;
}

/** What a run lacks, or "". */
function lackingOf(run) {
  const parts = [];
  if (run.n + run.n_failed + run.n_skipped < run.n_requested) parts.push(`${run.n} of ${run.n_requested} images`);
  for (const what of ["failed", "skipped"]) if (run[`n_${what}`]) parts.push(`${run[`n_${what}`]} ${what}`);
  return parts.join(", ");
}

function badge(text, title) {
  return text && element("small", { class: "badge", title }, text);
}

/** The columns of a board: those of which one of its rows has a number. */
function boardColumns(entries) {
  return PAGE.columns.filter((column) => entries.some((entry) => entry.values[column.key]));
}

function valueCell(entry, column) {
  const value = entry.values[column.key];
  if (!value) return "–";
  const printed = number(value[VALUE], column.digits);
  const over = `${value[OF_IMAGES]} images, ${value[OF_SEEDS]} seed${value[OF_SEEDS] === 1 ? "" : "s"}`;
  return element("span", { class: "mean", title: value[RANK] === null ? over : `rank ${value[RANK]}; ${over}` },
    value[MARK] === 1 ? element("b", { class: "best" }, printed) : value[MARK] === 2 ? element("u", {}, printed) : printed,
    value[TIED] ? element("sup", { title: "not distinguishable from the best" }, "†") : null,
    element("small", {}, plusMinus(value[VALUE], value[ERROR], column.digits)));
}

function makeBoard() {
  choices(document.getElementById("board-choice"), PAGE.boards.map((label, i) => [String(i), label]));
  addressControl("board", "board-choice");
  address("sort", () => boardOrder, (text) => { boardOrder = text; });
  document.getElementById("board-choice").addEventListener("change", () => { boardOrder = ""; drawBoard(); });
  document.getElementById("board-csv").addEventListener("click", saveBoardCsv);
  document.getElementById("board-latex").addEventListener("click", saveBoardLatex);
  document.getElementById("board-pair").addEventListener("click", () => openPair(...boardTable.rows().slice(0, 2)));
}

/** The rows of which a run is shown. A row's numbers are of all its seeds, also of those that are filtered out. */
function showBoard(runs) {
  boardShown = [...new Set(runs.map((run) => ENTRY.get(run.run_id)).filter(Boolean))];
  const there = new Set(boardShown.map((entry) => entry.board));
  choices(document.getElementById("board-choice"), PAGE.boards.map((label, i) => [String(i), label]).filter((_, i) => there.has(i)));
  drawBoard();
}

function drawBoard() {
  const place = document.getElementById("board-table");
  const chosenBoard = document.getElementById("board-choice").value;
  const all = PAGE.entries.filter((entry) => String(entry.board) === chosenBoard);
  const entries = boardShown.filter((entry) => all.includes(entry));
  for (const id of ["board-csv", "board-latex", "board-pair"]) document.getElementById(id).disabled = !entries.length;
  if (!entries.length) return place.replaceChildren(nothing());
  const shown = boardColumns(all);
  const ranked = shown.filter((column) => all.some((entry) => entry.values[column.key]?.[RANK]));
  const first = PREFERRED.find((key) => ranked.some((column) => column.key === key)) ?? ranked[0]?.key;
  const asked = boardOrder.replace(/^-/, "");
  let rankBy = ranked.some((column) => column.key === asked) ? asked : first;
  const merits = (column) => (entry) => { // what is not ranked comes last
    const value = ranked.includes(column) && entry.values[column.key]?.[RANK] === null ? undefined : entry.values[column.key]?.[VALUE];
    return value === undefined ? null : column.better === "one" ? Math.abs(value - 1) : value;
  };
  const columns = [
    { key: "method", label: "Method", head: true, value: entryName, cell: (entry) => element("span", { class: "who" },
      element("span", { class: "rank" }, String(entry.values[rankBy]?.[RANK] ?? "")),
      element("button", { type: "button", class: "link", title: "its configuration, command and code", onclick: () => openDrawer(entry.runs[0]) },
        dot(entry.method), called("method", entry.method)),
      entry.settings ? element("small", {}, entry.settings) : null, badge(lacking(entry), [entry.skipped, ...entry.notes].filter(Boolean).join("; "))) },
    ...shown.map((column) => ({ key: column.key, label: column.label, numeric: true, descending: column.better === "higher",
      title: protocolOf(column), value: merits(column), cell: (entry) => valueCell(entry, column) })),
    { key: "seeds", label: "Seeds", numeric: true, value: (entry) => entry.counted,
      cell: (entry) => (entry.counted < entry.runs.length ? `${entry.counted} of ${entry.runs.length}` : String(entry.counted)) },
    { key: "images", label: "Images", numeric: true, value: (entry) => entry.n, cell: (entry) => String(entry.n) },
  ];
  const wanted = columns.findIndex((column) => column.key === asked);
  const start = wanted < 0 ? Math.max(0, columns.findIndex((column) => column.key === first)) : wanted;
  boardTable = sortable(place, { caption: `Leaderboard: ${PAGE.boards[chosenBoard]}`, columns, sorted: start,
    descending: wanted < 0 ? Boolean(columns[start].descending) : boardOrder.startsWith("-"),
    attributes: (entry) => (lacking(entry) ? { class: "unfinished" } : {}),
    before: (key, descending) => {
      boardOrder = `${descending ? "-" : ""}${key}`;
      if (ranked.some((column) => column.key === key)) rankBy = key;
      noteRank(rankBy);
    } });
  noteRank(rankBy);
  boardTable.show(entries);
}

function noteRank(key) {
  document.getElementById("board-rank").textContent = COLUMN.get(key)?.label ?? "nothing";
}

function boardRows() {
  const rows = boardTable.rows();
  return { rows, columns: boardColumns(rows), label: PAGE.boards[rows[0].board] };
}

function saveBoardCsv() {
  const { rows, columns, label } = boardRows();
  const heads = ["", "_se", "_rank", "_like_best", "_images", "_seeds"];
  save(`${fileName(label)}.csv`, "text/csv", csv([
    ["problem", "method", "settings", "runs", "images", "asked", ...columns.flatMap((column) => heads.map((head) => column.key + head))],
    ...rows.map((entry) => [label, entry.method, entry.settings, entry.runs.join(" "), entry.n, entry.asked, ...columns.flatMap((column) => {
      const value = entry.values[column.key];
      return [VALUE, ERROR, RANK, TIED, OF_IMAGES, OF_SEEDS].map((part) => value?.[part]);
    })])]));
}

function saveBoardLatex() {
  const { rows, columns, label } = boardRows();
  const cell = (entry, column) => {
    const value = entry.values[column.key];
    if (!value) return "--";
    const printed = number(value[VALUE], column.digits).replace(MINUS, "-");
    const marked = value[MARK] === 1 ? `\\mathbf{${printed}}` : value[MARK] === 2 ? `\\underline{${printed}}` : printed;
    return `$${marked}${value[TIED] ? "^\\dagger" : ""}${plusMinus(value[VALUE], value[ERROR], column.digits).replace("±", "\\pm")}$`;
  };
  const comment = `${label}; mean over images and seeds, one standard error; bold best, underlined second, dagger: not distinguishable from the best`;
  save(`${fileName(label)}.tex`, "text/x-tex", latex(comment, ["Method", ...columns.map((column) => latexText(column.label))],
    rows.map((entry) => [latexText(entryName(entry) + (lacking(entry) ? ` (${lacking(entry)})` : "")), ...columns.map((column) => cell(entry, column))])));
}

/** Said where no run passes the filters. */
function nothing() {
  return element("p", { class: "note" }, "No run matches. ",
    element("button", { type: "button", onclick: () => document.getElementById("filters").reset() }, "Show all"));
}

/** A column's protocol in a line. */
function protocolOf(column) {
  return [`${column.how}${column.unit ? ` [${column.unit}]` : ""}`, goodness(column)].filter(Boolean).join("; ");
}

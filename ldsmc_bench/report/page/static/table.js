// A table whose headings sort it, a page at a time.

/**
 * columns: {key, label, title, value(row) to sort by, cell(row) a node or text, numeric, head (row heading), wide (not on
 * a phone), optional (left out where no row has a value), beside (further columns of a CSV)}; `attributes(row)` of its line. Returns {show(rows), rows(), csv(more columns), order(key), sort(key)}; `show`
 * returns the rows in order, and `change(rows in order)` is called when the reader sorts them, after `before(key, descending)`.
 */
function sortable(parent, { caption, columns, sorted, descending = false, size = 100, change = () => {}, before = () => {},
  attributes = () => ({}) }) {
  const state = { rows: [], page: 0, column: sorted ?? null, descending };
  const body = element("tbody");
  const look = (column) => [column.numeric ? "numeric" : "", column.wide ? "wide" : ""].filter(Boolean).join(" ") || null;
  const headings = columns.map((column, index) => {
    const button = element("button", { type: "button", title: column.title, onclick: () => sortBy(index) }, column.label);
    return element("th", { scope: "col", class: look(column) }, button);
  });
  const table = element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...headings)), body);
  const pager = pages((page) => { state.page = page; draw(); });
  parent.replaceChildren(
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), pager.node);

  function sortBy(index) {
    const same = state.column === index;
    state.descending = same ? !state.descending : Boolean(columns[index].descending);
    state.column = index;
    state.page = 0;
    before(columns[index].key, state.descending);
    change(order());
  }

  function order() {
    headings.forEach((heading, index) => {
      if (index === state.column) heading.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    if (state.column !== null) {
      const value = columns[state.column].value;
      state.rows = [...state.rows].sort((a, b) => compared(value(a), value(b), state.descending));
    }
    draw();
    return state.rows;
  }

  function draw() {
    const start = state.page * size;
    const there = columns.map((column) => !column.optional || state.rows.some((row) => (column.value(row) ?? null) !== null));
    headings.forEach((heading, i) => { heading.hidden = !there[i]; });
    body.replaceChildren(...state.rows.slice(start, start + size).map((row) => element("tr", attributes(row),
      ...columns.filter((_, i) => there[i]).map((column) => element(column.head ? "th" : "td",
        { scope: column.head ? "row" : null, class: look(column) }, column.cell(row))))));
    pager.show(state.page, state.rows.length, size);
  }

  return {
    show(rows) { state.rows = rows; state.page = 0; return order(); },
    rows: () => state.rows,
    csv(more = []) {
      const all = [...more, ...columns].flatMap((column) => [column, ...(column.beside ?? [])]);
      return csv([all.map((column) => column.key ?? column.label), ...state.rows.map((row) => all.map((column) => column.value(row)))]);
    },
    /** The order as a word for the address, "" while it is the first one. */
    order: () => (state.column === (sorted ?? null) && state.descending === descending ? ""
      : `${state.descending ? "-" : ""}${columns[state.column].key}`),
    sort(word) {
      const column = columns.findIndex((one) => one.key === word.replace(/^-/, ""));
      Object.assign(state, column < 0 ? { column: sorted ?? null, descending } : { column, descending: word.startsWith("-") });
    },
  };
}

/** Numbers by size, words by the alphabet, what is missing last either way. */
function compared(a, b, descending) {
  const [missingA, missingB] = [a, b].map((value) => value === null || value === undefined);
  if (missingA || missingB) return missingA - missingB;
  const sign = descending ? -1 : 1;
  return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

/** Previous and next, hidden where one page holds everything. */
function pages(turn) {
  let current = 0;
  const previous = element("button", { type: "button", onclick: () => turn(current - 1) }, "Previous");
  const next = element("button", { type: "button", onclick: () => turn(current + 1) }, "Next");
  const where = element("span", { role: "status" });
  const node = element("div", { class: "pager" }, previous, where, next);
  return {
    node,
    show(page, total, size) {
      current = page;
      node.hidden = total <= size;
      where.textContent = `${page * size + 1}–${Math.min(total, (page + 1) * size)} of ${total}`;
      previous.disabled = page === 0;
      next.disabled = (page + 1) * size >= total;
    },
  };
}

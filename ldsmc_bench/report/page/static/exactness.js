// Distance to known posteriors: a row a method, a column a world, of the runs at one number of denoiser calls.

function makeExactness() {
  const select = document.getElementById("exactness-calls");
  if (!select) return;
  const calls = [...new Set(PAGE.exactness.map((line) => line.calls))].sort((a, b) => a - b);
  choices(select, calls.map((count) => [String(count), count.toLocaleString("en")]));
  addressControl("calls", "exactness-calls");
  select.addEventListener("change", drawExactness);
  whenSeen("exactness", drawExactness);
}

function drawExactness() {
  const lines = PAGE.exactness.filter((line) => String(line.calls) === document.getElementById("exactness-calls").value);
  const worlds = [...new Set(lines.map((line) => line.world))].sort();
  const rows = new Map();
  for (const line of lines) {
    const key = [line.method, line.exact_for, line.particles].join("*");
    rows.set(key, (rows.get(key) ?? { ...line, worlds: {} }));
    rows.get(key).worlds[line.world] = line;
  }
  const least = new Map(worlds.map((world) => [world, Math.min(...lines.filter((line) => line.world === world).map((line) => line.sw1_ratio))]));
  const columns = [
    { key: "method", label: "Method", head: true, value: (row) => row.method, cell: (row) => row.method },
    ...worlds.map((world) => ({ key: world, label: world, numeric: true, title: "median over problems of SW1 over that of exact draws; 1 is exact",
      value: (row) => row.worlds[world]?.sw1_ratio, cell: (row) => {
        const line = row.worlds[world];
        if (!line) return "–";
        const best = line.sw1_ratio === least.get(world);
        return element("span", { class: "mean" }, element(best ? "b" : "span", { class: best ? "best" : null }, number(line.sw1_ratio, 2)),
          line.like_best && !best ? element("sup", {}, "†") : null, element("small", {}, ` [${number(line.low, 2)}, ${number(line.high, 2)}]`));
      } })),
    { key: "exact", label: "Exact for", value: (row) => row.exact_for, cell: (row) => row.exact_for },
    { key: "N", label: "N", numeric: true, value: (row) => row.particles, cell: (row) => String(row.particles) },
    { key: "n", label: "Problems", numeric: true, value: (row) => row.n, cell: (row) => String(row.n) },
  ];
  sortable(document.getElementById("exactness-table"), { caption: "Distance to known posteriors", columns, sorted: 1 }).show([...rows.values()]);
}

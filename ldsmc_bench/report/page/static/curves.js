// A metric against what was swept or what it cost, and effective sample sizes: of rows of the leaderboard, seeds averaged.

const COSTS = PAGE.columns.filter((column) => column.cost);
const [ESS_ROWS, BANDS] = [8, 3]; // curves in one plot, and with how many their bands can still be told apart

function makeCurves() {
  const metric = document.getElementById("curve-metric");
  const axis = document.getElementById("curve-axis");
  choices(metric, PAGE.columns.filter((column) => !column.cost).map((column) => [column.key, column.label]));
  const swept = Object.entries(PAGE.axes).filter(([key]) => PAGE.runs.some((run) => run.curve[key]));
  choices(axis, [...swept.map(([key, label]) => [key, label.replaceAll("$", "")]), ...COSTS.map((c) => [c.key, c.label])]);
  addressControl("metric", "curve-metric");
  addressControl("axis", "curve-axis");
  for (const control of [metric, axis]) control.addEventListener("change", () => drawCurves(visible()));
  whenSeen("curves", () => showCurves(visible()));
}

function showCurves(runs) {
  if (!seen.has("curves")) return;
  drawCurves(runs);
  drawEss(runs);
}

/** The rows of the leaderboard that these runs belong to, each as its first run with the values of all its seeds. */
function overSeeds(runs) {
  const rows = new Map();
  for (const run of runs) if (ENTRY.has(run.run_id) && !rows.has(ENTRY.get(run.run_id))) rows.set(ENTRY.get(run.run_id), run);
  return [...rows].map(([entry, run]) => ({ ...run, name: entryName(entry), runs: entry.runs, values: Object.fromEntries(
    Object.entries(entry.values).map(([key, [value, error]]) =>
      [key, [value, error, error === null ? null : value - error, error === null ? null : value + error]])) }));
}

function byTask(runs) {
  return Map.groupBy ? Map.groupBy(runs, taskOf) : runs.reduce((map, run) =>
    map.set(taskOf(run), [...(map.get(taskOf(run)) ?? []), run]), new Map());
}

function titled(run) {
  return `${called("task", run.task)}, ${called("dataset", run.dataset)}`;
}

const BARS = "Bars: one standard error over images and seeds (set metrics: by bootstrap).";

function drawCurves(all) {
  const runs = overSeeds(all);
  const metric = COLUMN.get(document.getElementById("curve-metric").value);
  const axis = document.getElementById("curve-axis").value;
  const cost = COLUMN.get(axis);
  const place = document.getElementById("curve-plots");
  const note = document.getElementById("curve-note");
  note.textContent = cost
    ? `${cost.how}. Filled points are on the Pareto front: no other row shown is both cheaper and better. ${BARS}`
    : `Rows that differ in nothing else are joined. ${BARS}`;
  if (!metric || !axis) return place.replaceChildren();
  const drawnRuns = new Set();
  const figures = [...byTask(runs)].sort(([a], [b]) => a.localeCompare(b)).map(([, some]) => {
    const series = cost ? fronts(some, metric, cost) : swept(some, metric, axis);
    if (!series.length) return null;
    for (const run of some) if (run.values[metric.key] && (cost ? run.values[axis] : run.curve[axis])) drawnRuns.add(run);
    const label = cost ? cost.label : PAGE.axes[axis].replaceAll("$", "");
    const values = [...new Set(series.flatMap((one) => one.points.map((p) => p.x)))];
    const log = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 4;
    return plot(titled(some[0]), series, {
      x: { label, log, ticks: cost || values.length > 6 ? null : values },
      y: { label: metric.label + (metric.unit ? ` [${metric.unit}]` : "") },
    });
  }).filter(Boolean);
  return place.replaceChildren(...(figures.length ? [...figures, legend(runs.filter((run) => drawnRuns.has(run)))]
    : [element("p", { class: "note" }, "Among the runs shown nothing varies along this axis.")]));
}

function point(run, metric, x) {
  const [y, error, low, high] = run.values[metric.key];
  const title = `${run.name}: ${metric.label} ${number(y, metric.digits)}${plusMinus(y, error, metric.digits)}`;
  return { x, y, low: low ?? NaN, high: high ?? NaN, title };
}

function look(run) {
  const { dash, marker: shape } = PAGE.styles[run.method];
  return { name: called("method", run.method), colour: colourOf(run.method), dash, marker: shape };
}

function swept(runs, metric, axis) {
  const groups = new Map();
  for (const run of runs) {
    if (!run.curve[axis] || !run.values[metric.key]) continue;
    groups.set(run.curve[axis][0], [...(groups.get(run.curve[axis][0]) ?? []), run]);
  }
  return [...groups.values()].filter((group) => group.length > 1).map((group) => ({
    ...look(group[0]), line: true, label: group[0].curve[axis][2],
    points: group.map((run) => point(run, metric, run.curve[axis][1])).sort((a, b) => a.x - b.x),
  }));
}

/** Every row a point; those that no other is both cheaper and better than are joined. */
function fronts(runs, metric, cost) {
  const all = runs.filter((run) => run.values[metric.key] && run.values[cost.key]?.[0] > 0)
    .map((run) => ({ run, x: run.values[cost.key][0], merit: merit(metric, run.values[metric.key][0]) }))
    .sort((a, b) => a.x - b.x || b.merit - a.merit);
  let best = -Infinity;
  const front = all.filter((one) => one.merit > best && ((best = one.merit), true));
  if (all.length < 2) return [];
  const steps = front.flatMap((one, i) => {
    const y = one.run.values[metric.key][0];
    return i ? [{ x: one.x, y: front[i - 1].run.values[metric.key][0] }, { x: one.x, y }] : [{ x: one.x, y }];
  });
  return [{ name: "Pareto front", colour: "var(--faint)", dash: [], line: true, points: steps },
    ...all.map((one) => ({ ...look(one.run), points: [{ ...point(one.run, metric, one.x), hollow: !front.includes(one) }] }))];
}

function legend(runs) {
  const methods = [...new Set(runs.map((run) => run.method))].sort();
  return element("ul", { class: "legend", "aria-label": "Methods" }, ...methods.map((method) => {
    const { dash, marker: shape } = PAGE.styles[method];
    const sample = svg("svg", { viewBox: "0 0 40 12", "aria-hidden": "true" });
    sample.append(drawn({ colour: colourOf(method), dash, marker: shape, line: true,
      points: [{ x: 2, y: 6 }, { x: 20, y: 6 }, { x: 38, y: 6 }] }, { at: (v) => v }, { at: (v) => v }));
    return element("li", {}, sample, called("method", method));
  }));
}

/** The mean curve of several seeds, where their steps are the same; else that of the first. */
function meanOf(curves) {
  const alike = curves.filter((ess) => ess && String(ess.step) === String(curves[0]?.step));
  const mean = (part) => alike[0][part].map((_, i) => alike.reduce((sum, ess) => sum + ess[part][i], 0) / alike.length);
  return alike.length ? { step: alike[0].step, mean: mean("mean"), low: mean("low"), high: mean("high") } : null;
}

function drawEss(runs) {
  const several = overSeeds(runs.filter((run) => run.particles > 1));
  const groups = [...byTask(several)].map(([, some]) => some.slice(0, ESS_ROWS));
  return latest("ess", () => Promise.all(groups.map((some) => Promise.all(some.map(async (row) =>
    [row, meanOf(await Promise.all(row.runs.map(async (id) => (await rowsOf(id)).steps.ess)))])))), (found) => {
    const figures = found.map((some) => some.filter(([, ess]) => ess)).filter((some) => some.length).map((some) => {
      const series = some.map(([run, ess], i) => {
        const share = (values) => values.map((value) => value / run.particles);
        const [mean, low, high] = [ess.mean, ess.low, ess.high].map(share);
        const style = Object.values(PAGE.styles)[i % 8];
        return { name: run.name, colour: style.colour === "#000000" ? "var(--ink)" : style.colour, dash: style.dash, line: true,
          points: ess.step.map((x, j) => ({ x, y: mean[j] })),
          band: some.length > BANDS ? null : ess.step.map((x, j) => ({ x, low: low[j], high: high[j] })) };
      });
      const figure = plot(titled(some[0][0]), series,
        { x: { label: "step" }, y: { label: "ESS / N" } });
      figure.append(element("ul", { class: "legend" }, ...series.map((one) => {
        const sample = svg("svg", { viewBox: "0 0 40 12", "aria-hidden": "true" });
        sample.append(drawn({ ...one, band: null, points: [{ x: 2, y: 6 }, { x: 38, y: 6 }] }, { at: (v) => v }, { at: (v) => v }));
        return element("li", {}, sample, one.name);
      })));
      return figure;
    });
    document.getElementById("ess").hidden = !figures.length;
    document.getElementById("ess-plots").replaceChildren(...figures);
  });
}

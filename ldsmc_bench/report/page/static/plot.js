// A small plot: lines or points with 95 % intervals, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [380, 270, 56, 14, 14, 44];

function svg(name, properties = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) if (value !== null) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/**
 * series: [{name, label, colour, dash, marker, line, points: [{x, y, low, high, title}], band: [{x, low, high}]}]
 * axes: {x: {label, log, ticks}, y: {label}}. Returns a figure whose caption is `title`.
 */
function plot(title, series, axes) {
  const points = series.flatMap((one) => [...one.points, ...(one.band ?? [])]);
  const x = scale(points.map((p) => p.x), axes.x, LEFT, WIDTH - RIGHT);
  const y = scale(points.flatMap((p) => [p.y, p.low, p.high]).filter(Number.isFinite), axes.y, HEIGHT - BOTTOM, TOP);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(title, series, axes) });
  for (const tick of x.ticks) {
    drawing.append(svg("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: TOP, y2: HEIGHT - BOTTOM }),
      svg("text", { x: x.at(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, short(tick)));
  }
  for (const tick of y.ticks) {
    drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y.at(tick), y2: y.at(tick) }),
      svg("text", { x: LEFT - 7, y: y.at(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  drawing.append(
    svg("text", { class: "axis", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, axes.x.label),
    svg("text", { class: "axis", x: 13, y: (TOP + HEIGHT - BOTTOM) / 2, "text-anchor": "middle",
      transform: `rotate(-90 13 ${(TOP + HEIGHT - BOTTOM) / 2})` }, axes.y.label));
  for (const one of series) drawing.append(drawn(one, x, y));
  const file = element("button", { type: "button", class: "file", title: `${title} as SVG`,
    onclick: () => save(`${fileName(`${title} ${axes.y.label} ${axes.x.label}`)}.svg`, "image/svg+xml", drawingText(drawing, title, series)) }, "SVG");
  return element("figure", {}, element("figcaption", {}, title, file), drawing);
}

function drawn(one, x, y) {
  const group = svg("g", { style: `--colour:${one.colour}` });
  const path = (pairs) => pairs.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  if (one.band) {
    const edge = (which, band) => band.map((p) => [x.at(p.x), y.at(p[which])]);
    group.append(svg("path", { class: "band", d: `${path([...edge("high", one.band), ...edge("low", [...one.band].reverse())])}Z` }));
  }
  if (one.line) {
    group.append(svg("path", { class: "line", "stroke-dasharray": one.dash.length ? one.dash.join(" ") : null,
      d: path(one.points.map((p) => [x.at(p.x), y.at(p.y)])) }));
  }
  if (one.label) {
    const end = one.points.at(-1);
    group.append(svg("text", { class: "name", x: x.at(end.x) - 8, y: y.at(end.y) - 9, "text-anchor": "end" }, one.label));
  }
  for (const p of one.points) {
    if (Number.isFinite(p.low)) {
      group.append(svg("line", { class: "whisker", x1: x.at(p.x), x2: x.at(p.x), y1: y.at(p.low), y2: y.at(p.high) }));
    }
    if (one.marker) group.append(marker(one.marker, x.at(p.x), y.at(p.y), p.title, p.hollow));
  }
  return group;
}

const SHAPES = {
  o: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", s: "M-3.5 -3.5H3.5V3.5H-3.5Z", "^": "M0 -4.6L4.4 3.4H-4.4Z",
  D: "M0 -4.8L4.8 0L0 4.8L-4.8 0Z", v: "M0 4.6L4.4 -3.4H-4.4Z", P: "M-1.6 -4.5H1.6V-1.6H4.5V1.6H1.6V4.5H-1.6V1.6H-4.5V-1.6H-1.6Z",
  X: "M-4 -2L-2 -4L0 -2L2 -4L4 -2L2 0L4 2L2 4L0 2L-2 4L-4 2L-2 0Z",
  "*": "M0 -5L1.4 -1.6L5 -1.5L2.2 .8L3.1 4.3L0 2.3L-3.1 4.3L-2.2 .8L-5 -1.5L-1.4 -1.6Z",
};

function marker(shape, x, y, title, hollow) {
  return svg("path", { class: hollow ? "marker hollow" : "marker", d: SHAPES[shape],
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, svg("title", {}, title ?? ""));
}

/** From values to pixels, with ticks at round numbers, or at the values themselves where there are few. */
function scale(values, { log = false, ticks = null }, from, to) {
  const map = log ? Math.log10 : (value) => value;
  let [low, high] = [Math.min(...values), Math.max(...values)].map(map);
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low - pad, high + pad];
  const at = (value) => from + ((map(value) - low) / (high - low)) * (to - from);
  return { at, ticks: ticks ?? (log ? decades(low, high) : round(low, high)) };
}

function round(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: count }, (_, i) => (Math.ceil(low / step) + i) * step);
}

/** 1, 2 and 5 of each power of ten, or the powers alone where those are many. */
function decades(low, high) {
  const factors = high - low > 2.5 ? [1] : [1, 2, 5];
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i);
  return powers.flatMap((power) => factors.map((f) => f * 10 ** power))
    .filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high);
}

function short(value) {
  const text = Math.abs(value) >= 10000 ? value.toExponential(0).replace("e+", "e") : String(Number(value.toPrecision(4)));
  return text.replace("-", MINUS);
}

function spoken(title, series, axes) {
  const names = [...new Set(series.map((one) => one.name))].join(", ");
  return `${title}: ${axes.y.label} against ${axes.x.label}, of ${names}. The numbers stand in the table of runs.`;
}

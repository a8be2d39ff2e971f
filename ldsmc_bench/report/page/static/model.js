// What the page knows: the runs come with it, rows and curves from scripts beside it, when they are asked for.
"use strict";

const PAGE = JSON.parse(document.getElementById("data").textContent);
const COLUMN = new Map(PAGE.columns.map((column) => [column.key, column]));
const PROBLEM = new Map(PAGE.problems.map((problem) => [problem.key, problem]));
const RUN = new Map(PAGE.runs.map((run) => [run.run_id, run]));
const MINUS = "\u2212";

const waiting = new Map(); // by name: the promise of what data/<name>.js holds, and what fulfils it

/** Called by the scripts in data/. Scripts, since a page from the file system may not fetch. */
function receive(name, value) {
  waiting.get(name).resolve(value);
}

/** What data/<name>.js holds, read once. */
function load(name) {
  if (!waiting.has(name)) {
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    waiting.set(name, entry);
    const script = document.createElement("script");
    script.src = `data/${encodeURIComponent(name)}.js`;
    script.onerror = () => entry.reject(new Error(`${script.src} cannot be read: make the page again`));
    document.head.append(script);
  }
  return waiting.get(name).promise;
}

/** The rows of a run, with the place of every image in them. */
async function rowsOf(runId) {
  const told = await load(runId);
  told.place ??= new Map(told.ids.map((id, i) => [id, i]));
  return told;
}

const reports = new Map(); // one answer a place, the latest: others were asked for by choices that have changed since

/**
 * Run `work` for a place of the page; `show` gets its result unless the place was asked anew meanwhile. Also where there
 * is nothing to wait for: else what was asked before would come in the end.
 */
async function latest(place, work, show) {
  const ticket = Symbol(place);
  reports.set(place, ticket);
  const result = await work();
  if (reports.get(place) === ticket) show(result);
}

/** What a method, task or data set is called where people read. */
function called(key, value) {
  return PAGE.names[key]?.[value] ?? String(value);
}

/** A number as the command line prints it: of two that are equally near the even one, and no sign before zero. */
function number(value, digits) {
  if (value === null || value === undefined) return "–";
  const exact = value.toFixed(100);
  const end = exact.length - 100 + digits;
  const below = exact.slice(0, end).replace(/\.$/, "");
  const tie = /^50*$/.test(exact.slice(end)) && /[02468]$/.test(below);
  return (tie ? below : value.toFixed(digits)).replace(/^-(?=[0.]+$)/, "").replace("-", MINUS);
}

/** ` ± 0.21` after a value, ` ± <0.01` where the error's digits would be zeros, "" without one, as the command line has it. */
function plusMinus(value, error, digits) {
  if (error === null || error <= 1e-9 * Math.abs(value)) return "";
  const printed = number(error, digits);
  if (/[1-9]/.test(printed)) return ` ± ${printed}`;
  return digits ? ` ± <${number(10 ** -digits, digits)}` : "";
}

/** `95 %: 34.10 to 46.02`, null where there is no interval. */
function interval(run, column) {
  const [, , low, high] = run.values[column.key];
  return low === null ? null : `95 %: ${number(low, column.digits)} to ${number(high, column.digits)}`;
}

/** How good a value of a column is: greater is better. */
function merit(column, value) {
  if (value === null || value === undefined) return -Infinity;
  return column.better === "higher" ? value : column.better === "one" ? -Math.abs(value - 1) : -value;
}

function colourOf(method) {
  const colour = PAGE.styles[method].colour;
  return colour === "#000000" ? "var(--ink)" : colour;
}

/** `element("td", {class: "x"}, "text", child …)`; a property that is null is left out. */
function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The method's marker in its colour: beyond eight methods colours come twice, with other markers. */
function dot(method) {
  const sample = svg("svg", { class: "dot", viewBox: "-6 -6 12 12", "aria-hidden": "true", style: `--colour:${colourOf(method)}` });
  sample.append(svg("path", { class: "marker", d: SHAPES[PAGE.styles[method].marker] }));
  return sample;
}

/** Fill a <select>, keeping what was chosen, or what a link asks for, where it is there. */
function choices(select, options) {
  const kept = [select.dataset.wanted, select.value].find((wanted) => options.some(([value]) => value === wanted));
  select.replaceChildren(...options.map(([value, label]) => element("option", { value }, label)));
  if (kept !== undefined) select.value = kept;
  if (kept === select.dataset.wanted) delete select.dataset.wanted;
}

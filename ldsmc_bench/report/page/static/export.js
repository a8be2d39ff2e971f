// What is shown as a file: a table as CSV or LaTeX, a plot as SVG.

function save(name, type, text) {
  element("a", { href: `data:${type};charset=utf-8,${encodeURIComponent(text)}`, download: name }).click();
}

function csv(lines) {
  const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return `${lines.map((line) => line.map((value) => cell(String(value ?? ""))).join(",")).join("\r\n")}\r\n`;
}

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "×": "$\\times$", "·": "$\\cdot$",
  "↑": "$\\uparrow$", "–": "--", [MINUS]: "$-$", ...Object.fromEntries([..."&%#_${}"].map((c) => [c, `\\${c}`])) };

function latexText(text) {
  return [...text].map((c) => LATEX[c] ?? c).join("");
}

/** `rows` hold text that is LaTeX already; the first column is set left, others right. */
function latex(comment, headings, rows) {
  const line = (cells) => `${cells.join(" & ")} \\\\`;
  return [`% ${comment}`, "% needs booktabs", `\\begin{tabular}{l${"r".repeat(headings.length - 1)}}`, "\\toprule", line(headings),
    "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-family", "text-anchor", "paint-order"];

/** The drawing by itself under its title and over its legend, with its style in it, on the page's ground. */
function drawingText(drawing, title, series) {
  const { width, height } = drawing.viewBox.baseVal;
  const [above, line, across] = [22, 18, 3];
  const named = [...new Map(series.map((one) => [one.name, one])).values()];
  const whole = above + height + line * Math.ceil(named.length / across) + 6;
  drawing.append(svg("g", { class: "taken" }, svg("text", { class: "axis", x: 8, y: -8 }, title), ...named.map((one, i) => {
    const [x, y] = [14 + (i % across) * (width / across), height + 6 + line * Math.floor(i / across)];
    const at = { at: (value) => value };
    const sample = drawn({ ...one, label: null, band: null, line: Boolean(one.line), points: one.line ? [{ x: x - 6, y }, { x: x + 10, y }] : [{ x: x + 2, y }] }, at, at);
    return svg("g", {}, sample, svg("text", { x: x + 18, y: y + 4 }, one.name));
  })));
  const copy = drawing.cloneNode(true);
  const [from, to] = [drawing, copy].map((node) => [...node.querySelectorAll("*")]);
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    to[i].removeAttribute("style");
    to[i].removeAttribute("class");
    for (const name of DRAWN) to[i].setAttribute(name, style.getPropertyValue(name));
  });
  drawing.querySelector(".taken").remove();
  copy.setAttribute("viewBox", `0 ${-above} ${width} ${whole}`);
  copy.setAttribute("width", width);
  copy.setAttribute("height", whole);
  copy.prepend(svg("rect", { y: -above, width, height: whole, fill: getComputedStyle(drawing.closest("figure")).backgroundColor }));
  return new XMLSerializer().serializeToString(copy);
}

function fileName(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}

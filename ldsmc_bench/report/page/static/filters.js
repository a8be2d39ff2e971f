// Which runs are shown: chips for methods, tasks and so on, and words. Nothing chosen means all.

const FACETS = ["method", "task", "dataset", "prior", "seed"];
const chosen = Object.fromEntries(FACETS.map((facet) => [facet, new Set()]));

/** The runs that the filters let through. */
function visible() {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  return PAGE.runs.filter((run) =>
    FACETS.every((facet) => !chosen[facet].size || chosen[facet].has(String(run[facet]))) &&
    words.every((word) => described(run).includes(word)));
}

function described(run) {
  run.text ??= [run.run_id, run.name, run.method, run.variant, run.task, run.dataset, run.prior, run.settings, ...FACETS.map((facet) => called(facet, run[facet])),
    `n=${run.particles}`, `steps=${run.steps}`, `seed=${run.seed}`].join(" ").toLowerCase();
  return run.text;
}

/** Show the runs that the filters let through, the table first: the sections below take its order. */
function filtered() {
  const runs = visible();
  document.getElementById("count").textContent = `${runs.length} of ${PAGE.runs.length} runs`;
  showBoard(runs);
  showRuns(runs);
  showWall(runs);
  showCurves(runs);
  listImages(runs);
}

function makeFilters() {
  const groups = FACETS.map((facet) => {
    const counts = new Map();
    for (const run of PAGE.runs) counts.set(String(run[facet]), (counts.get(String(run[facet])) ?? 0) + 1);
    if (counts.size < 2) return null;
    const chips = [...counts].sort(([a], [b]) => called(facet, a).localeCompare(called(facet, b), "en", { numeric: true })).map(([value, count]) => {
      const box = element("input", { type: "checkbox", value, name: facet, onchange: () => {
        chosen[facet][box.checked ? "add" : "delete"](value);
        filtered();
      } });
      return element("label", { class: "chip" }, box, facet === "method" ? dot(value) : null, called(facet, value),
        element("small", { title: "runs" }, String(count)));
    });
    return element("fieldset", {}, element("legend", {}, facet), ...chips);
  });
  document.getElementById("facets").append(...groups.filter(Boolean));
  for (const facet of FACETS) {
    address(facet, () => [...chosen[facet]].map(encodeURIComponent).join(","), (text) => {
      const wanted = text.split(",").filter(Boolean).map(decodeURIComponent);
      chosen[facet] = new Set(wanted.filter((value) => PAGE.runs.some((run) => String(run[facet]) === value)));
      for (const box of document.querySelectorAll(`#facets input[name="${facet}"]`)) box.checked = chosen[facet].has(box.value);
    });
  }
  addressControl("search", "words");
  document.getElementById("facet-box").open = !matchMedia("(max-width: 40rem)").matches;
  const form = document.getElementById("filters");
  document.getElementById("words").addEventListener("input", filtered);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    for (const values of Object.values(chosen)) values.clear();
    setTimeout(filtered); // once the form has emptied its fields
  });
}

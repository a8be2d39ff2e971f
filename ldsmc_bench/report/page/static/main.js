// Everything at its place: the table at once, pictures and curves when their section comes near the window.

const seen = new Set();

/** Call `draw` when a section first comes near the window. */
function whenSeen(id, draw) {
  const section = document.getElementById(id);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    seen.add(id);
    draw();
  }, { rootMargin: "400px" }).observe(section);
}

function makeText() {
  const count = (key) => new Set(PAGE.runs.map((run) => run[key])).size;
  const words = [[PAGE.runs.length, "run"], [count("method"), "method"], [count("task"), "task"], [PAGE.images, "image"]];
  document.getElementById("summary").textContent =
    words.map(([n, word]) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`).join(" · ");
  document.getElementById("made").textContent = `Made ${PAGE.made} from the store beside it.`;
  document.getElementById("protocols").append(...PAGE.columns.flatMap((column) => [
    element("dt", {}, column.label), element("dd", {}, protocolOf(column))]));
}

makeText();
makeFilters();
makeBoard();
makeRuns();
makeWall();
makeCompare();
makeDrawer();
makePair();
makeCurves();
makeImages();
makeExactness();
readAddress();
filtered();
keepAddress(filtered);
if (section) goTo(section, "instant");

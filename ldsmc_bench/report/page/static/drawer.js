// The drawer of a run: where its numbers come from, and in which settings it differs from another run.

let drawerRun = null;

function openDrawer(runId) {
  drawerRun = runId;
  const entry = ENTRY.get(runId);
  const named = (run) => [run.run_id, `${called("task", run.task)}: ${run.name}`];
  choices(document.getElementById("drawer-seed"), (entry?.runs ?? [runId]).map((id) => [id, `seed ${RUN.get(id).seed}`]));
  document.getElementById("drawer-seed").value = runId;
  const task = taskOf(RUN.get(runId));
  const others = PAGE.runs.filter((run) => run.run_id !== runId).sort((a, b) => (taskOf(b) === task) - (taskOf(a) === task));
  choices(document.getElementById("drawer-other"), [["", "nothing: all settings"], ...others.map(named)]);
  drawDrawer();
  const dialog = document.getElementById("drawer");
  if (!dialog.open) dialog.showModal();
}

function makeDrawer() {
  const dialog = document.getElementById("drawer");
  document.getElementById("drawer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.getElementById("drawer-seed").addEventListener("change", (event) => openDrawer(event.target.value));
  document.getElementById("drawer-other").addEventListener("change", drawDrawer);
  document.getElementById("drawer-images").addEventListener("click", () => { dialog.close(); showImages(drawerRun); });
  document.getElementById("drawer-pair").addEventListener("click", () => openPair(ENTRY.get(drawerRun)));
  addressDialog("run", dialog, () => [drawerRun, document.getElementById("drawer-other").value].filter(Boolean).join("*"), (text) => {
    const [runId, other] = text.split("*");
    if (!RUN.has(runId)) return;
    document.getElementById("drawer-other").dataset.wanted = other ?? "";
    openDrawer(runId);
  });
}

function drawDrawer() {
  const run = RUN.get(drawerRun);
  const other = RUN.get(document.getElementById("drawer-other").value);
  document.getElementById("drawer-title").replaceChildren(dot(run.method), ` ${called("task", run.task)}: ${run.name}`);
  return latest("drawer", () => Promise.all([rowsOf(run.run_id), other ? rowsOf(other.run_id) : null]), ([{ about }, its]) => {
    const command = about.command && element("span", {}, element("code", {}, about.command), " ",
      element("button", { type: "button", onclick: (event) => copyText(about.command, event.target) }, "Copy"));
    const lost = [[run.n_failed, "failed"], [run.n_skipped, `skipped: ${run.skipped}`]].filter(([count]) => count).map(([n, what]) => `${n} ${what}`);
    const facts = {
      "Run id": element("code", {}, run.run_id),
      Images: [`${run.n} of ${Math.max(run.n, run.n_requested)} done`, ...lost].join(", "),
      Command: command ?? "unknown: this folder has no note of it",
      ...Object.fromEntries(Object.entries(about.made).map(([key, text]) => [key[0].toUpperCase() + key.slice(1), text])),
      "W&B": /^https?:/.test(about.wandb ?? "") ? element("a", { href: about.wandb, rel: "noreferrer" }, about.wandb)
        : about.wandb ? element("code", {}, about.wandb) : "not mirrored from here",
    };
    document.getElementById("drawer-facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, value)]));
    const mine = about.config, theirs = its?.about.config ?? {};
    const names = [...new Set([...Object.keys(mine), ...Object.keys(theirs)])].sort();
    const shown = other ? names.filter((name) => mine[name] !== theirs[name]) : names;
    const text = (value) => (value === undefined ? "–" : value.replace(/^"(.*)"$/, "$1"));
    document.getElementById("drawer-config").replaceChildren(
      element("caption", {}, other ? `Settings in which it differs from ${other.name}` : "All settings"),
      element("thead", {}, element("tr", {}, ...["setting", run.short, other?.short].filter(Boolean).map((head) =>
        element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...(shown.length ? shown : [null]).map((name) => element("tr", {},
        element("th", { scope: "row" }, name ?? "nothing differs"),
        element("td", {}, name ? text(mine[name]) : ""), other ? element("td", {}, name ? text(theirs[name]) : "") : null))));
  });
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Mark it and copy"; // where the browser does not allow it
  }
}

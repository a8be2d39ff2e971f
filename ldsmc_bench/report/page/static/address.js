// What is shown, in the page's address after #, so that a link shows it again: #leaderboard?task=box&sort=psnr.

const parts = new Map(); // by name: how a part of the view is written ("" as it is at first), and how it is read
let section = "";

function address(name, write, read) {
  parts.set(name, { write, read });
}

/** A choice or a field. What a link asks for waits until it is among the options. */
function addressControl(name, id) {
  const control = document.getElementById(id);
  control.addEventListener("change", () => delete control.dataset.wanted);
  address(name, () => control.dataset.wanted ?? (control.value === (control.options?.[0]?.value ?? "") ? "" : control.value), (text) => {
    if (!control.options) control.value = text;
    else if ([...control.options].some((option) => option.value === text)) control.value = text;
    else if (text) control.dataset.wanted = text;
    else if (control.options.length) control.selectedIndex = 0;
  });
}

/** A dialog: what it shows while it is open. */
function addressDialog(name, dialog, write, open) {
  address(name, () => (dialog.open ? write() : ""), (text) => {
    if (text && !(dialog.open && write() === text)) open(text);
    else if (!text && dialog.open) dialog.close();
  });
}

function noteAddress() {
  const words = new URLSearchParams([...parts].map(([name, part]) => [name, part.write()]).filter(([, text]) => text));
  const text = `#${section}${words.size ? `?${words.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}` : ""}`;
  if (text !== (location.hash || "#")) history.replaceState(null, "", text);
}

function readAddress() {
  const [name, query] = location.hash.slice(1).split("?");
  section = name;
  const words = new URLSearchParams(query);
  for (const [key, part] of parts) part.read(words.get(key) ?? "");
}

function goTo(id, behavior = "auto") {
  const place = document.getElementById(id);
  if (!place) return;
  place.tabIndex = -1;
  place.scrollIntoView({ behavior });
  place.focus({ preventScroll: true });
}

/** Whatever the reader changes is noted; a link to a section keeps the rest of the address. */
function keepAddress(redraw) {
  let soon;
  for (const kind of ["change", "input", "click", "close", "reset", "keydown"]) {
    document.addEventListener(kind, () => { clearTimeout(soon); soon = setTimeout(noteAddress, 150); }, true);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    section = link.getAttribute("href").slice(1);
    goTo(section);
  });
  addEventListener("hashchange", () => { readAddress(); redraw(); goTo(section); });
}

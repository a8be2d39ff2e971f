"""`python -m ldsmc_bench.report.page`: all results as one static page, results/page/index.html.

It opens in a browser from the file system: `index.html` with the runs, a script for every run's rows, sheets of small
pictures.
"""

import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from ldsmc_bench.cli import NO_RUNS, Options, entry, has_no_runs
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import replace, writing
from ldsmc_bench.records.store import runs as stores
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.kinds import AXES
from ldsmc_bench.report.figures.plot import method_styles
from ldsmc_bench.report.page import data, pictures
from ldsmc_bench.report.select import NAMES, display_name
from ldsmc_bench.report.statistics import add_costs
from ldsmc_bench.text import printable

SECTION = """<section id="draws" aria-labelledby="draws-title">
    <h2 id="draws-title">Draws</h2>
    <p class="note">Several draws of one measurement, and how they compare with the truth over images.</p>
    <div class="draws">{figures}</div>
  </section>"""
SETS = ("draws", "particles")
SCRIPTS = ("model", "table", "filters", "runs", "wall", "compare", "plot", "curves", "main")


def build(results_dir: Path) -> Path:
    """Make or renew `results_dir/page/index.html` and return its path. Sheets that are there already are left alone.

    Raises UserError if the results cannot be read or the page cannot be written.
    """
    runs, rows = frame.runs(results_dir), add_costs(frame.rows(results_dir))
    by_run, images = {str(run_id): mine for run_id, mine in rows.groupby("run_id")}, frame.images(rows)
    kept = [store for store in stores(results_dir) if store.run_id in by_run]
    page, columns, scripts = results_dir / "page", data.columns(images, runs), dict[str, dict[str, Any]]()
    with writing(page):
        of_runs = pictures.problems(kept, sides := pictures.sides(kept))
        for problem in tqdm(of_runs, desc="page", unit="problem", leave=False, disable=None):
            truths = data.truths([images[run_id] for run_id in problem.runs if run_id in images])
            scripts[problem.key] = pictures.problem_pictures(page / "pictures", problem, truths)
        for store in tqdm(kept, desc="page", unit="run", leave=False, disable=None):
            content = data.image_columns(by_run[store.run_id], [column["key"] for column in columns])
            content["steps"] = data.steps(frame.diagnostics(results_dir, store.run_id))
            if store.run_id in sides and store.run_id in images:
                good = images[store.run_id].index
                content["pictures"] = pictures.run_pictures(page / "pictures", store, good, sides[store.run_id])
            scripts[store.run_id] = content
        for name, content in scripts.items():
            _write(page / "data" / f"{name}.js", f"receive({data.script(name)},{data.script(content)});\n")
        index = {
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "across": pictures.ACROSS,
            "block": pictures.BLOCK,
            "columns": columns,
            "axes": AXES,
            "styles": method_styles(runs["method"]),
            "names": {key: {name: display_name(key, name) for name in runs[key].unique()} for key in NAMES},
            "problems": [_problem_line(problem, scripts[problem.key]) for problem in of_runs],
            "runs": data.run_lines(runs, images, {run_id: one.key for one in of_runs for run_id in one.runs}),
        }
        _write(page / "index.html", html(index, draws_section(results_dir / "figures", page / "draws", by_run)))
        pictures.clean(page / "pictures", scripts.values())
        for path in set((page / "data").glob("*.js")) - {page / "data" / f"{name}.js" for name in scripts}:
            path.unlink(missing_ok=True)  # of a run that is no longer there
    return page / "index.html"


def draws_section(figures: Path, folder: Path, run_ids: Collection[str]) -> str:
    """The section of what `python -m ldsmc_bench calibration` has drawn, copied into `folder`; "" where there is none.

    Figures of a task come first, then a sheet of draws for each run that is still there.
    """
    kinds = {"ranks": "ranks of the truth", "tarp": "coverage of balls (TARP)", "sbc": "ranks of scalars"}
    kinds |= {"reliability": "attributes"}
    found = {
        path: f"{words}: {path.stem.removeprefix(kind + '-')}"
        for kind, words in kinds.items()
        for path in sorted(figures.glob(f"{kind}-*.png"))
    }
    sheets = {f"{kind}-{name}": f"{kind}, their mean, their spread: {name}" for name in run_ids for kind in SETS}
    found |= {path: words for name, words in sheets.items() if (path := figures / f"{name}.png").exists()}
    parts = []
    for path, caption in found.items():
        text = escape(printable(caption))
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / path.name, path.read_bytes())
        picture = f'<img src="draws/{quote(path.name)}" alt="{text}" loading="lazy">'
        parts.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
    if not parts:
        return ""
    return SECTION.format(figures="".join(parts))


def html(index: dict[str, Any], draws: str = "") -> str:
    """The page's text: its layout with style, scripts and data in it, so that it paints without another file; pictures
    of `draws` in their section, which is absent without them."""
    static = files(__package__) / "static"
    page = (static / "index.html").read_text(encoding="utf-8")
    parts = {
        "STYLE": (static / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": "\n".join((static / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
        "DATA": data.script(index),
    }
    for name, part in parts.items():
        page = page.replace(f"/*{name}*/", part)
    page = page.replace("<!--DRAWS-->", draws)
    return page.replace("<!--DRAWS-LINK-->", '<a href="#draws">Draws</a>' if draws else "")


def _problem_line(problem: pictures.Problem, content: dict[str, Any]) -> dict[str, Any]:
    config = problem.config
    task, dataset = config["task"], config["dataset"]
    noise = "Poisson noise" if task.get("noise") == "poisson" else f"noise {task.get('noise_std')}"
    names = (display_name("task", task.get("name")), display_name("dataset", dataset.get("name")))
    label = " · ".join([*names, noise, f"seed {config.get('seed')}"])
    return {"key": problem.key, "label": label, "side": problem.side, "missing": content.get("missing")}


def _write(path: Path, text: str) -> None:
    """Write the text, unless the file has it already."""
    content = printable(text).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        replace(path, content)


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page and print its path; the exit code is 0, or 2 if results cannot be read or written."""
    options = Options("page", "All results as one static page, results/page/index.html.", results_dir=True)
    results_dir = options.read(arguments).results_dir
    if has_no_runs(results_dir):
        raise UserError(NO_RUNS)
    print(printable(f"page: {build(results_dir)}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

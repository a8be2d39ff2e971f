"""`python -m ldsmc_bench page`: all results as one static page, results/page/index.html.

It opens in a browser from the file system: `index.html` with the runs, a script for every run's rows, sheets of small
pictures.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pandas as pd
from PIL import Image
from tqdm import tqdm

from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.files import write_file, writing
from ldsmc_bench.records.store import runs as stores
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.kinds import AXES
from ldsmc_bench.report.figures.plot import method_styles
from ldsmc_bench.report.page import board, data, pictures
from ldsmc_bench.report.page.about import about, commands
from ldsmc_bench.report.select import NAMES, display_name
from ldsmc_bench.report.statistics import UNPAIRED, add_costs
from ldsmc_bench.text import printable

DRAWS = """<section id="draws" aria-labelledby="draws-title">
    <h2 id="draws-title">Draws</h2>
    <p class="note">Several draws of one measurement, and how they compare with the truth over images.</p>
    <div class="draws">{figures}</div>
  </section>"""
EXACTNESS = """<section id="exactness" aria-labelledby="exactness-title">
    <h2 id="exactness-title">Exactness</h2>
    <div class="controls"><label>Denoiser calls a draw <select id="exactness-calls"></select></label></div>
    <p class="note">Distance (sliced Wasserstein) of draws to a known posterior, over that of exact draws: median over
      problems with its 95 % bootstrap interval. 1 is exact. † is not distinguishable from the best of a world by a
      paired test (Wilcoxon, Holm).</p>
    <div id="exactness-table"></div>
    <div class="draws">{figures}</div>
  </section>"""
MEDIANS = "leaderboard-medians.csv"  # in tables/, by `python -m ldsmc_bench leaderboard`
PAIRS = "pairs"  # the script with the differences of any two rows of the leaderboard
SETS = ("draws", "particles")
SCRIPTS = ["model", "address", "export", "table", "filters", "board", "runs", "drawer", "wall", "compare", "pair"]
SCRIPTS += ["plot", "curves", "exactness", "main"]


def build(results_dir: Path) -> Path:
    """Make or renew `results_dir/page/index.html` and return its path. Sheets that are there already are left alone.

    Raises UserError if the results cannot be read or the page cannot be written.
    """
    runs, rows = frame.runs(results_dir), add_costs(frame.rows(results_dir))
    by_run, images = {str(run_id): mine for run_id, mine in rows.groupby("run_id")}, frame.images(rows)
    listed = set(runs["run_id"])
    kept = [store for store in stores(results_dir) if store.run_id in listed]
    page, columns, scripts = results_dir / "page", data.columns(images, runs), dict[str, dict[str, Any]]()
    keys, several = [column["key"] for column in columns], runs["run_id"][runs["draws"] > 1].tolist()
    drawn = frame.rows(results_dir, several, keys, every_draw=True)
    known, by_id = commands(results_dir), {str(run["run_id"]): run for run in runs.to_dict("records")}
    labels, entries = board.boards(runs, images, columns)
    done = rows[rows["status"] == "ok"].merge(runs[["run_id", "dataset"]])
    with writing(page):
        scripts[PAIRS] = board.differences(entries, images, columns)
        of_runs = pictures.problems(kept, sides := pictures.sides(kept))
        of_run = {run_id: problem for problem in of_runs for run_id in problem.runs}
        for problem in tqdm(of_runs, desc="page", unit="problem", leave=False, disable=None):
            problem.truths.update(data.truths([images[run_id] for run_id in problem.runs if run_id in images]))
            scripts[problem.key] = pictures.problem_pictures(page / "pictures", problem)
        for store in tqdm(kept, desc="page", unit="run", leave=False, disable=None):
            mine = by_run.get(store.run_id, rows.iloc[:0])
            content = data.image_columns(mine, keys)
            content["about"] = about(store, by_id[store.run_id], known.get(store.run_id))
            content["steps"] = data.steps(frame.diagnostics(results_dir, store.run_id))
            if store.run_id in sides and store.run_id in images:
                good, side = pictures.published(store, images[store.run_id].index.tolist()), sides[store.run_id]
                content["pictures"] = pictures.run_pictures(page / "pictures", store, good, side)
                content["layers"] = pictures.layers(page / "pictures", store, good, side, of_run.get(store.run_id))
                data.add_draws(content["layers"], drawn[drawn["run_id"] == store.run_id], keys)
            scripts[store.run_id] = content
        for name, content in scripts.items():
            _write(page / "data" / f"{name}.js", f"receive({data.script(name)},{data.script(content)});\n")
        sections = {"draws": draws_section(results_dir / "figures", page / "draws", by_run)}
        sections["exactness"], medians = exactness_section(results_dir, page / "draws")
        index = {
            "images": len(done[["dataset", "image_id"]].drop_duplicates()),
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "across": pictures.ACROSS,
            "block": pictures.BLOCK,
            "columns": columns,
            "axes": AXES,
            "styles": method_styles(runs["method"]),
            "names": {key: {name: display_name(key, name) for name in runs[key].unique()} for key in NAMES},
            "problems": [_problem_line(problem, scripts[problem.key]) for problem in of_runs],
            "exactness": medians,
            "boards": labels,
            "entries": board.lines(entries),
            "runs": data.run_lines(runs, images, {run_id: problem.key for run_id, problem in of_run.items()}),
        }
        _write(page / "index.html", html(index, sections))
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
    return DRAWS.format(figures=_figures(found, folder)) if found else ""


def exactness_section(results_dir: Path, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The section of what `python -m ldsmc_bench leaderboard` has written, its figures copied into `folder`, and the
    lines of its table; "" and none where there is none."""
    try:
        table = pd.read_csv(results_dir / "tables" / MEDIANS)
    except (OSError, ValueError):
        return "", []
    captions = {
        "leaderboard": "against denoiser calls",
        "leaderboard-difficulty": "against the difficulty of a problem",
        "leaderboard-weights": "weights off and on",
    }
    found = {path: text for name, text in captions.items() if (path := results_dir / f"figures/{name}.png").exists()}
    lines = [{str(key): data.plain(value) for key, value in line.items()} for line in table.to_dict("records")]
    return EXACTNESS.format(figures=_figures(found, folder)), lines


def _figures(found: Mapping[Path, str], folder: Path) -> str:
    """Pictures with their captions, copied into `folder`."""
    parts = []
    for path, caption in found.items():
        text = escape(printable(caption))
        write_file(folder / path.name, path.read_bytes())
        with Image.open(path) as opened:
            size = 'width="{}" height="{}"'.format(*opened.size)
        picture = f'<img src="draws/{quote(path.name)}" alt="{text}" {size} loading="lazy">'
        parts.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
    return "".join(parts)


def html(index: dict[str, Any], sections: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page's text: its layout with style, scripts and data in it, so that it paints without another file; further
    `sections` by their ids."""
    static = files(__package__) / "static"
    page = (static / "index.html").read_text(encoding="utf-8").replace("<!--UNPAIRED-->", UNPAIRED)
    parts = {
        "STYLE": (static / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": "\n".join((static / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
        "DATA": data.script(index),
    }
    for name, part in parts.items():
        page = page.replace(f"/*{name}*/", part)
    there = {name: text for name, text in sections.items() if text}
    page = page.replace("<!--SECTIONS-->", "\n  ".join(there.values()))
    return page.replace("<!--LINKS-->", "\n    ".join(f'<a href="#{name}">{name.title()}</a>' for name in there))


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
    if not path.exists() or path.read_bytes() != content:
        write_file(path, content)


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page and print its path; the exit code is 0, or 2 if results cannot be read or written."""
    options = Options("page", "All results as one static page, results/page/index.html.", results_dir=True)
    results_dir = options.read(arguments).results_dir
    require_runs(results_dir)
    print(printable(f"page: {build(results_dir)}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

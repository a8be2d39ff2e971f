"""The page from the store: `index.html` with the runs, a script for every run's rows, sheets of small pictures."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ldsmc_bench.records.publish import replace, writing
from ldsmc_bench.records.store import runs as stores
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures_style import styles
from ldsmc_bench.report.names import called
from ldsmc_bench.report.page import data
from ldsmc_bench.report.page.pictures import Problem, problem_pictures, problems, run_pictures, sides
from ldsmc_bench.report.page.problems import asked
from ldsmc_bench.report.page.thumbnails import ACROSS, BLOCK, clean

NAMED = ("method", "task", "dataset")
SCRIPTS = ("model", "table", "filters", "runs", "wall", "compare", "plot", "curves", "main")


def build(results_dir: Path) -> Path:
    """Make or renew `results_dir/page/index.html` and return its path. Sheets that are there already are left alone.

    Raises UserError if the results cannot be read or the page cannot be written.
    """
    runs = frame.runs(results_dir)
    rows = data.prepared(frame.rows(results_dir))
    by_run = {str(run_id): mine for run_id, mine in rows.groupby("run_id")}
    kept = [store for store in stores(results_dir) if store.run_id in by_run]
    page = results_dir / "page"
    with writing(page):
        posed = problems(kept, side_of := sides(kept))
        described = _problems(page, results_dir, posed, by_run)
        columns = data.columns(rows, runs)
        keys = [column["key"] for column in columns]
        sheets = [page / "pictures" / of["folder"] / name for of in _columns(described) for name in _files(of)]
        for store in tqdm(kept, desc="page", unit="run", leave=False, disable=None):
            mine = by_run[store.run_id]
            told: dict[str, Any] = data.images(mine, keys)
            told["steps"] = data.steps(frame.diagnostics(results_dir, store.run_id))
            if store.run_id in side_of:
                good = mine.loc[mine["status"] == "ok", "image_id"].tolist()
                told["pictures"] = run_pictures(page / "pictures", store, good, side_of[store.run_id])
                sheets += [page / "pictures" / store.run_id / name for name in told["pictures"]["files"]]
            _write(page / "data" / f"{store.run_id}.js", f"receive({data.script(store.run_id)},{data.script(told)});\n")
        of_run = {run_id: problem.key for problem in posed for run_id in problem.runs}
        index = {
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "across": ACROSS,
            "block": BLOCK,
            "columns": columns,
            "axes": data.AXES,
            "styles": styles(runs["method"]),
            "names": {key: {v: called(key, v) for v in runs[key].unique()} for key in NAMED},
            "problems": [_line(problem, described[problem.key]) for problem in posed],
            "runs": data.run_lines(runs, rows, of_run),
        }
        _write(page / "index.html", html(index))
        clean(page / "pictures", sheets)
        _forget(page / "data", [*(store.run_id for store in kept), *described])
    return page / "index.html"


def html(index: dict[str, Any]) -> str:
    """The page's text: its layout with style, scripts and data in it, so that it paints without another file."""
    static = files(__package__) / "static"
    text = {name: (static / name).read_text(encoding="utf-8") for name in ("index.html", "page.css")}
    script = "\n".join((static / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {"STYLE": text["page.css"], "SCRIPT": script, "DATA": data.script(index)}
    page = text["index.html"]
    for name, part in parts.items():
        page = page.replace(f"/*{name}*/", part)
    return page


def _problems(
    page: Path, results_dir: Path, posed: Sequence[Problem], by_run: dict[str, pd.DataFrame]
) -> dict[str, dict[str, Any]]:
    """Sheets and script of each problem, by its key, and what was told of them."""
    loads, described = asked(results_dir), {}
    for problem in tqdm(posed, desc="page", unit="problem", leave=False, disable=None):
        frames = [by_run[run_id] for run_id in problem.runs]
        ids = sorted({image_id for rows in frames for image_id in rows.loc[rows["status"] == "ok", "image_id"]})
        told = problem_pictures(page / "pictures", problem, ids, loads)
        _write(page / "data" / f"{problem.key}.js", f"receive({data.script(problem.key)},{data.script(told)});\n")
        described[problem.key] = told
    return described


def _line(problem: Problem, told: dict[str, Any]) -> dict[str, Any]:
    config = problem.config
    task, dataset = config["task"]["name"], config["dataset"]["name"]
    noise = "Poisson noise" if config["task"]["noise"] == "poisson" else f"noise {config['task']['noise_std']:g}"
    label = f"{called('task', task)} · {called('dataset', dataset)} · {noise} · seed {config['seed']}"
    return {"key": problem.key, "label": label, "side": problem.side, "missing": told.get("missing")}


def _columns(described: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [told[which] for told in described.values() for which in ("truth", "measurement") if which in told]


def _files(column: dict[str, Any]) -> list[str]:
    return [*column["files"], *column["full"]]


def _write(path: Path, text: str) -> None:
    """Put the text there, unless it stands there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        replace(path, text.encode())


def _forget(folder: Path, names: Sequence[str]) -> None:
    """Remove the scripts of runs that are no longer there."""
    for path in set(folder.glob("*.js")) - {folder / f"{name}.js" for name in names}:
        path.unlink(missing_ok=True)

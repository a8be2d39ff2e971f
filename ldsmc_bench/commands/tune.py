"""The choice among what `experiment=tune_toyfaces` has run: `ldsmc-bench tune` writes conf/tuned/toyfaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ldsmc_bench.cli import Options, entry, going_on
from ldsmc_bench.config import compose, instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.records.store import Store, read_summary

EXPERIMENT = "tune_toyfaces"
METRIC = "toyfaces_perceptual"
GRID = CONF / "tuned" / "toyfaces_grid"
NEAREST = {"random": "freeform", "motion_deblur": "gaussian_deblur", "denoise": "gaussian_deblur", "sr8": "sr4"}


@dataclass(frozen=True)
class Trial:
    """A row of the grid, and the mean and standard error of the metric over `n` validation images with it."""

    row: Mapping[str, Any]
    mean: float
    se: float
    n: int


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file a method; 0, or 1 with a line for each method whose trials are not all there."""
    parser = Options("tune", __doc__, results_dir=True)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: all that have a grid")
    folder = CONF / "tuned" / "toyfaces"
    parser.add_argument("--out", type=Path, default=folder, help="where the files go (default: conf/tuned/toyfaces)")
    options = parser.read(arguments)
    failed: list[str] = []
    for method in options.methods or sorted(path.stem for path in GRID.glob("*.yaml")):
        with going_on(failed):
            tried = {
                task: [trial(method, task, i, row, options.results_dir) for i, row in enumerate(rows)]
                for task, rows in grid(method).items()
            }
            path = options.out / f"{method}.yaml"
            path.write_text(_table(tried), encoding="utf-8")
            print(f"{path}: " + ", ".join(f"{task} {_best(rows).mean:.3f}" for task, rows in tried.items()))
    return min(len(failed), 1)


def grid(method: str) -> dict[str, list[Mapping[str, Any]]]:
    """The candidates of a method by task. Raises UserError for a method without a grid."""
    path = GRID / f"{method}.yaml"
    if not path.exists():
        raise UserError(f"{method}: no grid of candidates; make {path.relative_to(CONF.parent)}")
    return yaml.safe_load(path.read_text())


def trial(method: str, task: str, candidate: int, row: Mapping[str, Any], results_dir: Path) -> Trial:
    """A trial, found in the store by its run id. Raises UserError where it has not been finished."""
    wanted = f"method={method} task={task} dataset.candidate={candidate}"
    settings = validate(composed(*wanted.split()))
    dataset, prior = (instantiate(settings.config[part]["load"]) for part in ("dataset", "prior"))
    name = run_id(identify(settings.config, dataset, prior))
    summary = read_summary(Store(results_dir / "runs" / name, name)) or {"n": 0}
    if summary["n"] < settings.n_images:
        raise UserError(
            f"{method}, {task}: {summary['n']} of {settings.n_images} images; first: "
            f"python -m ldsmc_bench experiment={EXPERIMENT} {wanted}"
        )
    metric = summary["metrics"][METRIC]
    return Trial(row, metric["mean"], metric["se"], summary["n"])


def composed(*overrides: str) -> Any:
    """The experiment's configuration."""
    return compose(f"experiment={EXPERIMENT}", *overrides)


def _best(rows: Sequence[Trial]) -> Trial:
    return min(rows, key=lambda trial: trial.mean)


def _table(tried: Mapping[str, Sequence[Trial]]) -> str:
    """The file of a method: each task's best row, with what all rows came to as comments."""
    (n,) = {trial.n for rows in tried.values() for trial in rows}
    lines = [
        f"# Written by `python -m ldsmc_bench.tune`: of the candidates of experiment={EXPERIMENT}, the one with the",
        f"# least mean perceptual distance on {n} validation faces, {composed().steps} steps, one particle; ± standard "
        "error.",
    ]
    for task, rows in tried.items():
        keys = [key for key in rows[0].row if len({str(trial.row.get(key)) for trial in rows}) > 1]
        names = [", ".join(f"{key} {trial.row[key]}" for key in keys) for trial in rows]
        results = [f"({name}) {trial.mean:.3f} ± {trial.se:.3f}" for name, trial in zip(names, rows, strict=True)]
        lines.append(f"# {task}: {', '.join(results)}")
    for task, rows in tried.items():
        row = yaml.safe_dump(dict(_best(rows).row), default_flow_style=True, sort_keys=False, width=1000)
        lines.append(f"{task}: &{task} {row.strip()}")
    lines.append("# not tuned: as the nearest of those")
    lines += [f"{task}: *{source}" for task, source in NEAREST.items() if source in tried]
    return "\n".join(lines) + "\n"

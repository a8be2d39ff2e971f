"""The choice among what `experiment=tune_toyfaces` has run: `python -m ldsmc_bench.tune` writes conf/tuned/toyfaces."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.identity import run_id
from ldsmc_bench.run import identified
from ldsmc_bench.settings import checked, made

EXPERIMENT = "tune_toyfaces"
METRIC = "toyfaces_perceptual"
GRID = CONF / "tuned" / "toyfaces_grid"
CHOSEN = CONF / "tuned" / "toyfaces"
NEAREST = {"random": "freeform", "motion_deblur": "gaussian_deblur", "denoise": "gaussian_deblur", "sr8": "sr4"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A row of the grid and what it came to: mean and standard error of the metric over `n` validation images."""

    row: Row
    mean: float
    se: float
    n: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file a method; 0, or 1 with a line for each method whose trials are not all there."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.tune", description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: all that have a grid")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="the folder that holds runs/")
    parser.add_argument("--out", type=Path, default=CHOSEN, help="where the files go (default: conf/tuned/toyfaces)")
    options = parser.parse_args(arguments)
    missing = 0
    for method in options.methods or sorted(path.stem for path in GRID.glob("*.yaml")):
        try:
            tried = trials(method, options.results_dir)
        except UserError as error:
            missing += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        path = options.out / f"{method}.yaml"
        path.write_text(chosen(tried, steps()))
        print(f"{path}: " + ", ".join(f"{task} {best(rows).mean:.3f}" for task, rows in tried.items()))
    return min(missing, 1)


def trials(method: str, results_dir: Path) -> dict[str, list[Trial]]:
    """The method's trials, task by task in the order of its grid. Raises UserError where one has not been finished."""
    return {
        task: [Trial(row, *outcome(method, task, i, results_dir)) for i, row in enumerate(rows)]
        for task, rows in grid(method).items()
    }


def grid(method: str) -> dict[str, list[Row]]:
    """The candidates of a method. Raises UserError for a method without a grid."""
    path = GRID / f"{method}.yaml"
    if not path.exists():
        raise UserError(f"{method}: no grid of candidates; make {path.relative_to(CONF.parent)}")
    return yaml.safe_load(path.read_text())


def outcome(method: str, task: str, candidate: int, results_dir: Path) -> tuple[float, float, int]:
    """Mean, standard error and number of images of one trial, found in the store by its run id."""
    wanted = f"method={method} task={task} dataset.candidate={candidate}"
    cfg = composed(*wanted.split())
    settings = checked(cfg)
    dataset, prior = (made(settings.config[part]["load"]) for part in ("dataset", "prior"))
    summary = results_dir / "runs" / run_id(identified(settings, dataset, prior)) / "summary.json"
    values: dict[str, Any] = json.loads(summary.read_bytes()) if summary.exists() else {"n": 0}
    if values["n"] < settings.n_images:
        raise UserError(
            f"{method}, {task}: {values['n']} of {settings.n_images} images; first: "
            f"python -m ldsmc_bench experiment={EXPERIMENT} {wanted}"
        )
    metric = values["metrics"][METRIC]
    return metric["mean"], metric["se"], values["n"]


def steps() -> int:
    """The number of steps that the experiment tunes for."""
    return int(composed().steps)


def composed(*overrides: str) -> Any:
    """The experiment's configuration."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"experiment={EXPERIMENT}", *overrides])


def best(rows: Sequence[Trial]) -> Trial:
    """The trial with the least mean, the first of equals."""
    return min(rows, key=lambda trial: trial.mean)


def chosen(tried: Mapping[str, Sequence[Trial]], steps: int) -> str:
    """The file of a method: each task's best row, with what all rows came to as comments."""
    (n,) = {trial.n for rows in tried.values() for trial in rows}
    lines = [
        f"# Written by `python -m ldsmc_bench.tune`: of the candidates of experiment={EXPERIMENT}, the one with the",
        f"# least mean perceptual distance on {n} validation faces, {steps} steps, one particle; ± standard error.",
    ]
    for task, rows in tried.items():
        lines += [f"# {task}: " + ", ".join(f"{_varying(t.row, rows)} {t.mean:.3f} ± {t.se:.3f}" for t in rows)]
    lines += [f"{task}: &{task} {_flow(best(rows).row)}" for task, rows in tried.items()]
    lines += ["# not tuned: as the nearest of those"]
    lines += [f"{task}: *{source}" for task, source in NEAREST.items() if source in tried]
    return "\n".join(lines) + "\n"


def _varying(row: Row, rows: Sequence[Trial]) -> str:
    """What tells a row from the others: `kappa1 2.0, kappa2 2.5`."""
    keys = [key for key in row if len({str(trial.row.get(key)) for trial in rows}) > 1]
    return "(" + ", ".join(f"{key} {row[key]}" for key in keys) + ")"


def _flow(row: Row) -> str:
    return yaml.safe_dump(dict(row), default_flow_style=True, sort_keys=False, width=1000).strip()


if __name__ == "__main__":
    sys.exit(main())

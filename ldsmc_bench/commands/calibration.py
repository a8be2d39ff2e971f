"""`python -m ldsmc_bench calibration`: are the draws of runs with draws=K those of the posterior?

Prints a table for each task and data set, and writes it to results/tables/calibration-<task>-<dataset>-<K>.csv.
Figures of ranks and of expected coverage, and for each run a sheet of draws beside their mean and spread, go to
results/figures. The numbers are explained in ldsmc_bench/calibration/README.md.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import yaml
from matplotlib import rc_context
from numpy.typing import NDArray
from tqdm import tqdm

from ldsmc_bench.calibration import figures
from ldsmc_bench.calibration.draws import Pooled, pool
from ldsmc_bench.calibration.judge import DrawSet, Judged, find_draws, judge
from ldsmc_bench.calibration.reliability import Reliability, reliability
from ldsmc_bench.calibration.sbc import uniformity
from ldsmc_bench.cli import NO_RUNS, Options, entry, going_on, has_no_runs
from ldsmc_bench.errors import UserError, notify
from ldsmc_bench.files import CONF, replace, writing
from ldsmc_bench.records.problems import read_picture
from ldsmc_bench.records.status import requested
from ldsmc_bench.records.store import Store
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.plot import LOOK, figure_text, save
from ldsmc_bench.report.select import display_name, group_runs, join_label, label_runs
from ldsmc_bench.report.sheet import ROWS, save_sheet
from ldsmc_bench.report.table import with_error
from ldsmc_bench.scoring.distances import Estimate
from ldsmc_bench.text import text_table

SHOWN = 6  # draws on a sheet
DIGITS = {"psnr_mean": 2, "perceptual_mean": 4, "crps": 4, "energy": 3, "spread": 4, "diversity": 4}
HEADINGS = {
    "psnr_mean": "PSNR of the mean",
    "perceptual_mean": "perceptual of the mean",
    "crps": "CRPS",
    "energy": "energy",
    "spread": "spread",
    "diversity": "diversity",
}


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all complete runs with several draws; the exit code is 2 where there is none."""
    results_dir = Options("calibration", __doc__, results_dir=True).read(arguments).results_dir
    if has_no_runs(results_dir):
        raise UserError(NO_RUNS)
    runs = frame.runs(results_dir)
    runs = runs[runs["draws"] > 1]
    if runs.empty:
        raise UserError(f"no run in {results_dir} has several draws of an image; give a run's command with draws=16")
    for run_id in runs["run_id"][~runs["complete"]]:
        notify(f"left out: {run_id} is not complete; give its command again")
    if not runs["complete"].any():
        raise UserError(f"no run with several draws in {results_dir} is complete; give its command again")
    failed: list[str] = []
    for draws, equally_many in runs[runs["complete"]].groupby("draws"):
        for (task, dataset), group in group_runs(equally_many, ["task", "dataset"]):
            group = group.sort_values(["method", "variant", "steps", "particles", "seed", "run_id"])
            print("\n".join(report(results_dir, str(task), str(dataset), int(str(draws)), group, failed)), flush=True)
    return 2 if failed else 0


def report(
    results_dir: Path, task: str, dataset: str, draws: int, runs: pd.DataFrame, failed: list[str]
) -> Iterator[str]:
    """Judge the runs of a task with equally many draws, write their table and figures, and yield what to print. A run
    that cannot be judged is added to `failed`."""
    names = [
        join_label(display_name("method", method), settings)
        for method, settings in zip(runs["method"], label_runs(runs), strict=True)
    ]
    stores = {name: Store(results_dir / "runs" / one, one) for name, one in zip(names, runs["run_id"], strict=True)}
    title = f"{display_name('task', task)}, {display_name('dataset', dataset)}"
    judged: dict[str, dict[str, Judged]] = {}
    drawn: dict[str, list[DrawSet]] = {}
    for name, store in tqdm(stores.items(), desc=title, disable=None):
        request = requested(store)
        with going_on(failed, store.run_id):
            if request is None:
                raise UserError("its requested.json is absent or damaged; give its command again")
            images = find_draws(store, request.draws)
            judged[name] = judge(store, request, images)
            drawn[name] = images
            save_draws(results_dir / "figures" / f"draws-{store.run_id}.png", images)
    if not judged:
        return
    lines = {name: line_of(images) for name, images in judged.items()}
    table = pd.DataFrame(lines).T.rename_axis("method").reset_index()
    end = f"{task}-{dataset}-{draws}"
    path = results_dir / "tables" / f"calibration-{end}.csv"
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, table.to_csv(index=False).encode())
    yield f"\n{title}: {draws} draws of each image"
    yield text_table({str(heading): table[heading].tolist() for heading in table}, left={"method"}, repeat=1, width=160)
    yield f"table: {path}"
    for figure_path in save_figures(results_dir / "figures", end, title, judged):
        yield f"figure: {figure_path}"
    own = CONF / "dataset" / f"{dataset}.yaml"
    if module := own.exists() and yaml.safe_load(own.read_text("utf-8")).get("attributes"):
        yield from judge_attributes(import_module(module), results_dir / "figures", end, title, drawn)


def judge_attributes(
    world: ModuleType, folder: Path, end: str, title: str, drawn: Mapping[str, Sequence[DrawSet]]
) -> Iterator[str]:
    """Judge what draws show of the attributes that the measurement hides: a table a run, and a figure of all.

    `world` has the functions `readings` and `summary` of `toyfaces.semantics`.
    """
    curves: dict[str, Reliability] = {}
    for name, images in drawn.items():
        found = world.readings(
            {one.image_id: one.draws() for one in images}, {one.image_id: one.hidden() for one in images}
        )
        if found:
            yield f"\n{name}: {world.summary(found)}"
        curves |= {f"{name}: {attribute}".replace("_", " "): reliability([one]) for attribute, one in found.items()}
    if curves:
        with rc_context(LOOK):
            figure = figures.reliability_curves({figure_text(name): one for name, one in curves.items()}, title)
            yield f"figure: {save(figure, folder, f'reliability-{end}')}"


def line_of(images: Mapping[str, Judged]) -> dict[str, str]:
    """A run's scores as the cells of a table: means over images ± standard error, pooled ones with 95 % intervals."""
    scalars = [one.scores.scalars() for one in images.values()]
    cells = {"images": str(len(images))}
    for name, digits in DIGITS.items():
        values = [one[name] for one in scalars if name in one]
        if values:
            error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
            cells[HEADINGS[name]] = with_error(float(np.mean(values)), error, digits)
    if len(images) > 1:
        pooled = pool([one.scores for one in images.values()])
        cells["spread/skill"] = between(pooled.spread_skill)
        for level, one in zip(pooled.levels, (pooled.coverage_50, pooled.coverage_90), strict=True):
            cells[f"coverage of {100 * level:.0f} %"] = between(one, 100)
        if places := [one.tarp for one in images.values() if one.tarp is not None]:
            cells["TARP p"] = f"{uniformity(np.array(places)).p:.2g}"
    return cells


def between(estimate: Estimate, times: float = 1) -> str:
    """`0.83 [0.79, 0.88]`; whole percents."""
    numbers = [times * one for one in (estimate.value, estimate.low, estimate.high)]
    value, low, high = (f"{one:.2f}" if times == 1 else f"{one:.0f}" for one in numbers)
    return f"{value} [{low}, {high}]"


def save_figures(folder: Path, end: str, title: str, judged: Mapping[str, Mapping[str, Judged]]) -> Iterator[Path]:
    """Write the figures of a task; yields their paths."""
    several = {figure_text(name): images for name, images in judged.items() if len(images) > 1}
    if not several:
        return
    pooled: dict[str, Pooled] = {
        name: pool([one.scores for one in images.values()]) for name, images in several.items()
    }
    coverage = {
        name: uniformity(np.array([one.tarp for one in images.values()]))
        for name, images in several.items()
        if all(one.tarp is not None for one in images.values())
    }
    ranks = {
        name: {
            scalar: uniformity(np.array([one.ranks[scalar] for one in images.values()]))
            for scalar in next(iter(images.values())).ranks
        }
        for name, images in several.items()
    }
    with rc_context(LOOK):
        yield save(figures.rank_histograms(pooled, f"{title}: ranks of the truth"), folder, f"ranks-{end}")
        if coverage:
            yield save(figures.coverage_curves(coverage, f"{title}: TARP"), folder, f"tarp-{end}")
        yield save(figures.rank_differences(ranks, f"{title}: ranks of scalars"), folder, f"sbc-{end}")


def save_draws(path: Path, images: Sequence[DrawSet]) -> None:
    """A sheet of a run's first images: truth, measurement, some draws, their mean, their spread."""
    columns: dict[str, list[NDArray[np.uint8] | None]] = {}
    for drawn in images[:ROWS]:
        measured = read_picture(drawn.problems, "measurement", drawn.image_id) if drawn.problems else None
        pictures = {"truth": channels_last(drawn.truth().numpy()), "measurement": measured, **shown(drawn)}
        for caption, picture in pictures.items():
            columns.setdefault(caption, []).append(picture)
    save_sheet(path, columns)


def shown(drawn: DrawSet) -> dict[str, NDArray[np.uint8]]:
    """Pictures of an image's draws: some of them, their mean, and their standard deviation, four times as bright."""
    values = drawn.draws().numpy()
    spread = np.minimum(4 * values.std(axis=0, ddof=1), 255)
    pictures = {f"draw {number}": draw for number, draw in enumerate(values[:SHOWN])}
    pictures |= {"mean": values.mean(axis=0).round(), "spread x4": spread.round()}
    return {caption: channels_last(picture) for caption, picture in pictures.items()}


def channels_last(picture: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture.transpose(1, 2, 0)).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m ldsmc_bench calibration`: are the draws of runs with draws=K those of the posterior?

Prints a table for each task and data set, and writes it to results/tables/calibration-<task>-<dataset>-<K>.tex, .md and
.csv. Figures of ranks and of expected coverage, and for each run a sheet of draws beside their mean and spread, go to
results/figures. Particles kept by particles_as_draws=true have tables and figures of their own, whose names end in
<N>-particles. The numbers are explained in ldsmc_bench/calibration/README.md.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib import rc_context
from numpy.typing import NDArray
from tqdm import tqdm

from ldsmc_bench.calibration import figures
from ldsmc_bench.calibration.draws import Pooled, nominal, pool
from ldsmc_bench.calibration.judge import (
    DrawSet,
    Judged,
    find_draws,
    find_particles,
    judge,
    kept_scores,
    scores_by_image,
)
from ldsmc_bench.calibration.sbc import uniformity
from ldsmc_bench.cli import Options, entry, going_on, require_runs
from ldsmc_bench.commands.attributes import judge_attributes
from ldsmc_bench.errors import UserError, notify
from ldsmc_bench.files import CONF
from ldsmc_bench.records.particles import with_particles
from ldsmc_bench.records.problems import read_picture
from ldsmc_bench.records.store import Store
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.plot import LOOK, figure_text, save
from ldsmc_bench.report.select import display_name, group_runs, join_label, label_runs, problem_labels
from ldsmc_bench.report.sheet import ROWS, save_sheet
from ldsmc_bench.report.statistics import standard_error
from ldsmc_bench.report.table import with_error
from ldsmc_bench.report.tables.__main__ import files_of, write
from ldsmc_bench.report.tables.caption import power_sentences
from ldsmc_bench.report.tables.content import Table, build_table
from ldsmc_bench.report.tables.layout import Layout
from ldsmc_bench.scoring.distances import Estimate
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.text import number, text_table

SHOWN = 6  # draws on a sheet
OF_DRAWS = [protocol for protocol in PROTOCOLS.values() if protocol.per == "draws"]
POOLED = [protocol for protocol in PROTOCOLS.values() if protocol.per == "pooled"]


@dataclass(frozen=True)
class Kind:
    """A kind of draw sets: the column of `frame.runs` with their size K, the words for K of them, the end of the names
    of tables and figures, a function that finds them, and the file of a run that keeps their scores."""

    column: str
    words: str
    end: str
    find: Callable[[Store, int], list[DrawSet]]
    file: str


DRAWS = Kind("draws", "draws of each image", "", find_draws, "draws.json")
PARTICLES = Kind(
    "particles",
    "weighted particles of one run for each image, resampled by weight, as one correlated set of draws",
    "-particles",
    lambda store, _: find_particles(store),
    "particles.json",
)


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all complete runs with several draws; the exit code is 2 where there is none."""
    results_dir = Options("calibration", __doc__, results_dir=True).read(arguments).results_dir
    absent = f"no run in {results_dir} has several draws of an image; give a run's command with draws=16"
    require_runs(results_dir, absent)
    runs = frame.runs(results_dir)
    stores = pd.Series([store_of(results_dir, run_id) for run_id in runs["run_id"]], runs.index)
    scored, scored_particles = (
        np.array([bool(kept_scores(*one, kind.file)) for one in zip(stores, runs[kind.column], strict=True)], bool)
        for kind in (DRAWS, PARTICLES)
    )
    runs["complete"] |= scored
    of_kind = [(DRAWS, runs["draws"] > 1), (PARTICLES, stores.map(with_particles).map(bool) | scored_particles)]
    several = runs[of_kind[0][1] | of_kind[1][1]]
    if several.empty:
        raise UserError(absent)
    for run_id in several["run_id"][~several["complete"]]:
        notify(f"left out: {run_id} is not complete; give its command again")
    if not several["complete"].any():
        raise UserError(f"no run with several draws in {results_dir} is complete; give its command again")
    failed: list[str] = []
    for kind, chosen in of_kind:
        for (task, dataset), of_task in group_runs(runs[chosen & runs["complete"]], ["task", "dataset"]):
            by_size = {int(str(size)): group for size, group in of_task.groupby(kind.column)}
            if kind is DRAWS and len(by_size) > 1:
                apart = "; ".join(f"{size}: {', '.join(group['run_id'])}" for size, group in by_size.items())
                print(f"\n{task}, {dataset}: a table for each number of draws ({apart})")
            for draws, group in by_size.items():
                group = group.sort_values(["method", "variant", "steps", "particles", "seed", "run_id"])
                lines = report(results_dir, kind, str(task), str(dataset), draws, group, failed)
                print("\n".join(lines), flush=True)
    return 2 if failed else 0


def store_of(results_dir: Path, run_id: str) -> Store:
    return Store(results_dir / "runs" / run_id, run_id)


def report(
    results_dir: Path, kind: Kind, task: str, dataset: str, draws: int, runs: pd.DataFrame, failed: list[str]
) -> Iterator[str]:
    """Judge the runs of a task with equally many draws, write their table and figures, and yield what to print. A run
    that cannot be judged is added to `failed`."""
    names = [
        join_label(display_name("method", method), apart | settings)
        for method, apart, settings in zip(runs["method"], problem_labels(runs), label_runs(runs), strict=True)
    ]
    stores = {name: store_of(results_dir, run_id) for name, run_id in zip(names, runs["run_id"], strict=True)}
    title = f"{display_name('task', task)}, {display_name('dataset', dataset)}"
    judged: dict[str, dict[str, Judged]] = {}
    drawn: dict[str, list[DrawSet]] = {}
    for name, store in tqdm(stores.items(), desc=title, disable=None):
        if scores := kept_scores(store, draws, kind.file):
            judged[name] = scores
            continue
        with going_on(failed, store.run_id):
            images = kind.find(store, draws)
            judged[name] = judge(store, dataset, draws, images, kind.file)
            drawn[name] = images
            save_draws(results_dir / "figures" / f"{kind.column}-{store.run_id}.png", images)
    if not judged:
        return
    end, caption = f"{task}-{dataset}-{draws}{kind.end}", f"{title}: {draws} {kind.words}"
    lines = {name: line_of(images) for name, images in judged.items()}
    headings = dict.fromkeys(heading for line in lines.values() for heading in line)
    yield f"\n{caption}"
    columns = {heading: [line.get(heading, "--") for line in lines.values()] for heading in headings}
    yield text_table({"method": list(lines), **columns}, left={"method"}, repeat=1, width=160)
    yield from remarks(kind, draws, judged, dict(zip(names, runs["n"], strict=True)))
    by_run = {stores[name].run_id: images for name, images in judged.items()}
    table = table_of(f"calibration-{end}", caption, draws, runs, by_run)
    yield from power_sentences(table)
    yield f"table: {files_of(write(table, results_dir / 'tables'))}"
    title = f"{title}, {draws} {kind.column}"
    for figure_path in save_figures(results_dir / "figures", end, title, judged):
        yield f"figure: {figure_path}"
    own = CONF / "dataset" / f"{dataset}.yaml"
    if module := own.exists() and yaml.safe_load(own.read_text("utf-8")).get("attributes"):
        yield from judge_attributes(import_module(module), results_dir, end, title, drawn)


def remarks(
    kind: Kind, draws: int, judged: Mapping[str, Mapping[str, Judged]], done: Mapping[str, int]
) -> Iterator[str]:
    """Lines for what the table does not show: images that have fewer draws, and draws that are all the same picture."""
    for name, images in judged.items():
        if (fewer := done[name] - len(images)) > 0:
            yield f"{name}: {fewer} of {done[name]} images left out, without {draws} {kind.column}"
        if repeated := sum(one.scores.spread < 1e-12 for one in images.values()):
            yield f"{name}: {repeated} of {len(images)} images have one picture {draws} times"


def line_of(images: Mapping[str, Judged]) -> dict[str, str]:
    """A run's scores as the cells of a table: means over images ± standard error, pooled ones with 95 % intervals."""
    scalars = [one.scores.scalars() for one in images.values()]
    cells = {"images": str(len(images))}
    for metric in OF_DRAWS:
        if values := [one[metric.name] for one in scalars if metric.name in one]:
            cells[metric.label] = with_error(float(np.mean(values)), standard_error(values), metric.digits)
    known = pooled_values(images.values())
    for name, heading in pooled_headings(next(iter(images.values())).scores.draws).items():
        if one := known.get(name):
            text = partial(number, digits=PROTOCOLS[name].digits, floor=PROTOCOLS[name].floor)
            value, low, high = map(text, (one.value, one.low, one.high))
            cells[heading] = value if np.isnan(one.se) else f"{value} [{low}, {high}]"
    return cells


def pooled_values(images: Iterable[Judged]) -> dict[str, Estimate]:
    """The scores that pool images, by name, in the units of conf/metrics.yaml; none of a single image."""
    several = list(images)
    if len(several) < 2:
        return {}
    pooled = pool([one.scores for one in several])
    found = {"spread_skill": pooled.spread_skill}
    for name, share in (("coverage_50", pooled.coverage_50), ("coverage_90", pooled.coverage_90)):
        found[name] = Estimate(*(100 * part for part in (share.value, share.se, share.low, share.high)))
    if places := [one.tarp for one in several if one.tarp is not None]:
        found["tarp_p"] = Estimate(uniformity(np.array(places)).p, np.nan, np.nan, np.nan)
    return found


def pooled_headings(draws: int) -> dict[str, str]:
    """The scores that pool images, by name, with their headings: a coverage has that of the level that so many draws
    allow, and is left out where both have the same."""
    levels = {nominal(draws, percent / 100): f"coverage_{percent}" for percent in (90, 50)}
    coverages = {name: f"coverage of {100 * level:.0f} %" for level, name in levels.items()}
    shown = [one for one in POOLED if one.name in coverages or not one.name.startswith("coverage_")]
    return {one.name: coverages.get(one.name, one.label) for one in shown}


def table_of(
    name: str, title: str, draws: int, runs: pd.DataFrame, judged: Mapping[str, Mapping[str, Judged]]
) -> Table:
    """The scores of runs, by run id, as a table like all others: with marks, paired tests and their power."""
    metrics = [{"name": one.name} for one in OF_DRAWS]
    for metric, label in pooled_headings(draws).items():
        own = {"label": label, "latex": label.replace(" %", r"\,\%")} if metric.startswith("coverage_") else {}
        metrics.append({"name": metric, **own})
    command = "python -m ldsmc_bench calibration"
    layout = Layout.model_validate(
        {"name": name, "title": title, "rows": ["method", "particles"], "metrics": metrics, "command": command}
    )
    runs = runs[runs["run_id"].isin(judged)]
    pooled = {run_id: pooled_values(images.values()) for run_id, images in judged.items()}
    for one in POOLED:
        found = [pooled[run_id].get(one.name) for run_id in runs["run_id"]]
        for column, part in ((f"sets.{one.name}", "value"), (f"sets.{one.name}_se", "se")):
            values = [getattr(estimate, part, np.nan) for estimate in found]
            runs = runs.assign(**{column: pd.Series(values, runs.index, dtype=float)})
    scores = {run_id: scores_by_image(images) for run_id, images in judged.items()}
    return build_table(layout, runs, scores)


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

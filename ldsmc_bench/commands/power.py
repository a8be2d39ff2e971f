"""The difference between each two methods, and the one that their images detect with 80 % power at level 0.05.

Methods are paired on the images and seeds of a problem that both restored. `difference` is the mean of method - other
with half its 95 % interval, `p` that of a signed-rank test, and `sd` the standard deviation over images of what is a
mean over seeds. With difference=D, the images that a true mean difference of D takes. Fewer than six images detect
nothing, for no signed-rank test of them can reach the level. With against=sample.s=0, say, each other run is compared
with one run alone: of those with this value, the one whose settings differ least from its own.
"""

import itertools
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldsmc_bench.calibration.judge import read_scores, scores_by_image
from ldsmc_bench.calibration.power import images_needed
from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.records.store import Store
from ldsmc_bench.report import frame, statistics
from ldsmc_bench.report.select import (
    display_name,
    have_value,
    identity_texts,
    join_label,
    label_runs,
    problem_labels,
    problem_text,
    require_values,
)
from ldsmc_bench.report.statistics import LEAST, LEVEL, Power
from ldsmc_bench.report.tables.layout import read_filter
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.text import printable, text_table

NAMES = ("task", "dataset", "method", "other")
Filter = tuple[str, list[Any]]  # a key of a run and the values wanted


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each pair of methods."""
    parser = Options("power", __doc__, results_dir=True)
    parser.add_argument("--metric", default="psnr", help="of an image, or of its draws (default: %(default)s)")
    parser.add_argument("--difference", type=float, metavar="D", help="in the metric's unit: how many images?")
    chosen = "runs with these values alone, as often as needed"
    parser.add_argument("--where", action="append", default=[], type=read_filter, metavar="KEY=VALUE,...", help=chosen)
    parser.add_argument("--against", type=read_filter, metavar="KEY=VALUE", help="the value of the others")
    options = parser.read(arguments)
    if options.difference is not None and not 0 < options.difference < math.inf:
        raise UserError(f"difference={options.difference:g}: must be above 0")
    require_runs(options.results_dir)
    found = [
        (names, difference, statistics.paired_power(difference))
        for names, difference in pairs(options.results_dir, options.metric, options.where, options.against)
    ]
    if not found:
        raise UserError(f"metric={options.metric}: no two methods have it of the same images; run another on them")
    protocol = PROTOCOLS[options.metric]
    powers = [power for _, _, power in found]
    columns = {name: [names[i] for names, _, _ in found] for i, name in enumerate(NAMES)}
    columns |= {"images": [str(power.n) for power in powers]}
    columns |= {"difference": [_interval(difference, protocol.digits) for _, difference, _ in found]}
    columns |= {"p": [f"{statistics.paired_p(difference, 0 * difference):.2g}" for _, difference, _ in found]}
    for heading, values in {"sd": [p.sd for p in powers], "detected": [p.smallest for p in powers]}.items():
        columns[heading] = [f"{value:.{protocol.digits}f}" if math.isfinite(value) else "--" for value in values]
    if (wished := options.difference) is not None:
        columns[f"images for {wished:g}"] = [_needed(power, wished) for power in powers]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(printable(text_table(columns, left=NAMES, repeat=len(NAMES), width=width, rule=True)))
    if any(math.isinf(power.smallest) for power in powers):
        print(f"--: too few images in common: to detect a difference takes {LEAST}, an sd 2")
    unit = f" in {protocol.unit}" if protocol.unit else ""
    print(
        f"{protocol.label}{unit}: method - other ± half its 95 % interval; detected: the smallest difference with 80 % "
        f"power in one comparison at level {LEVEL}"
    )


def pairs(
    results_dir: Path, metric: str, where: Iterable[Filter] = (), against: Filter | None = None
) -> Iterator[tuple[tuple[str, ...], pd.Series]]:
    """The names (task, data set, two methods) and the differences by image of each two methods with a common image, or
    of each with the one `against` which it is compared, by problem, and by the number of draws for a metric of all
    draws. Raises UserError where no run has the metric or a value that is asked for."""
    runs = frame.runs(results_dir).sort_values(["method", "particles", "steps"])
    for key, values in where:
        runs = _require(runs, key, values)
    if against:
        _require(runs, *against)
    of_draws = metric in PROTOCOLS and PROTOCOLS[metric].per == "draws"
    images = (scores_of_draws if of_draws else metrics_of_images)(results_dir, runs, metric)
    parts = dict(zip(runs["run_id"], problem_labels(runs), strict=True))
    by = [runs["task"], runs["dataset"], runs[frame.IDENTITY].map(problem_text)]
    for _, of_problem in runs.groupby([*by, runs["draws"]] if of_draws else by):
        groups = [group for _, group in of_problem.groupby(identity_texts(of_problem), sort=False)]
        firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
        settings = label_runs(firsts, ignored=("seed",))
        labels = [
            join_label(display_name("method", method), own)
            for method, own in zip(firsts["method"], settings, strict=True)
        ]
        tables = [_by_seed(group, images, metric) for group in groups]
        first = firsts.iloc[0]
        task = join_label(display_name("task", first["task"]), parts[first["run_id"]])
        names = task, display_name("dataset", first["dataset"])
        couples = itertools.combinations(range(len(firsts)), 2) if against is None else _nearest(firsts, *against)
        for i, j in couples:
            difference = (tables[i] - tables[j]).dropna(axis=1, how="all").dropna().mean(axis=1).dropna()
            if len(difference):
                yield (*names, labels[i], labels[j]), difference


def _require(runs: pd.DataFrame, key: str, values: list[Any]) -> pd.DataFrame:
    """The runs that have one of these values. Raises UserError where none has."""
    if key not in runs:
        raise UserError(f"{key}={values[0]}: no run has such a key; {nearest(key, runs.columns)}")
    require_values({key: values}, runs)
    return runs[have_value(runs, key, values)]


def _nearest(firsts: pd.DataFrame, key: str, values: list[Any]) -> Iterator[tuple[int, int]]:
    """The place of each run without such a value, and that of the run with one that differs in the fewest settings."""
    settings = [set(identity.items()) for identity in firsts[frame.IDENTITY]]
    others = have_value(firsts, key, values).to_numpy()
    for i in np.flatnonzero(~others):
        if others.any():
            yield int(i), int(min(np.flatnonzero(others), key=lambda j: len(settings[i] ^ settings[j])))


def metrics_of_images(results_dir: Path, runs: pd.DataFrame, metric: str) -> frame.Images:
    """The metrics of draw 0 by run and image. Raises UserError where no run has this one."""
    known = [name for name, protocol in PROTOCOLS.items() if protocol.per == "image"]
    rows = frame.rows(results_dir, runs["run_id"].tolist(), known)
    known = [name for name in known if name in rows and rows[name].notna().any()]
    if metric not in known:
        raise UserError(f"metric={metric}: no run has such a metric of an image; {nearest(metric, known)}")
    return frame.images(rows)


def scores_of_draws(results_dir: Path, runs: pd.DataFrame, metric: str) -> frame.Images:
    """The scores of all draws by run and image, as they were kept by `calibration`. Raises UserError where no run has
    this one."""
    found = {}
    for run_id, draws in zip(runs["run_id"], runs["draws"], strict=True):
        scores = scores_by_image(read_scores(Store(results_dir / "runs" / run_id, run_id), draws))
        if metric in scores:
            found[run_id] = scores
    if not found:
        raise UserError(
            f"metric={metric}: no run has scores of its draws; python -m ldsmc_bench calibration makes them"
        )
    return found


def _by_seed(runs: pd.DataFrame, images: frame.Images, metric: str) -> pd.DataFrame:
    """The metric, images by seeds. Incomplete runs are left out where there are complete ones, as in tables."""
    complete = runs[runs["complete"] & (runs["n"] > 0)]
    used = (complete if len(complete) else runs).drop_duplicates("seed")
    seeds = dict(zip(used["run_id"], used["seed"], strict=True))
    return statistics.by_image(seeds, images, metric).rename(columns=seeds)


def _interval(difference: pd.Series, digits: int) -> str:
    value, low, _ = statistics.estimate_interval(statistics.mean(difference.to_frame()))
    return f"{value:.{digits}f} ± {value - low:.{digits}f}" if math.isfinite(low) else f"{value:.{digits}f}"


def _needed(power: Power, difference: float) -> str:
    return str(max(LEAST, images_needed(power.sd, difference, level=LEVEL))) if math.isfinite(power.sd) else "--"

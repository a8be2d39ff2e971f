"""The difference between each two methods that their images detect with 80 % power at level 0.05, for one pair.

Methods are paired on the images and seeds of a problem that both restored; `sd` is the standard deviation over images
of their difference, a mean over seeds. With difference=D, the images that a true mean difference of D takes. Fewer than
six images detect nothing, for no signed-rank test of them can reach the level.
"""

import itertools
import json
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ldsmc_bench.calibration.judge import read_scores, scores_by_image
from ldsmc_bench.calibration.power import images_needed
from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.records.problems import PARTS
from ldsmc_bench.records.store import Store
from ldsmc_bench.report import frame, statistics
from ldsmc_bench.report.select import (
    LONGEST,
    display_name,
    distinguishing_settings,
    identity_texts,
    join_label,
    label_runs,
)
from ldsmc_bench.report.statistics import LEAST, LEVEL, Power
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.text import printable, text_table

NAMES = ("task", "dataset", "method", "other")


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each pair of methods."""
    parser = Options("power", __doc__, results_dir=True)
    parser.add_argument("--metric", default="psnr", help="of an image, or of its draws (default: %(default)s)")
    parser.add_argument("--difference", type=float, metavar="D", help="in the metric's unit: how many images?")
    options = parser.read(arguments)
    if options.difference is not None and not 0 < options.difference < math.inf:
        raise UserError(f"difference={options.difference:g}: must be above 0")
    require_runs(options.results_dir)
    found = list(pairs(options.results_dir, options.metric))
    if not found:
        raise UserError(f"metric={options.metric}: no two methods have it of the same images; run another on them")
    protocol = PROTOCOLS[options.metric]
    columns = {name: [names[i] for names, _ in found] for i, name in enumerate(NAMES)}
    columns |= {"images": [str(power.n) for _, power in found]}
    for heading, values in {"sd": [p.sd for _, p in found], "detected": [p.smallest for _, p in found]}.items():
        columns[heading] = [f"{value:.{protocol.digits}f}" if math.isfinite(value) else "--" for value in values]
    if (wished := options.difference) is not None:
        columns[f"images for {wished:g}"] = [_needed(power, wished) for _, power in found]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(printable(text_table(columns, left=NAMES, repeat=len(NAMES), width=width, rule=True)))
    if any(math.isinf(power.smallest) for _, power in found):
        print(f"--: too few images in common: to detect a difference takes {LEAST}, an sd 2")
    unit = f" in {protocol.unit}" if protocol.unit else ""
    print(
        f"{protocol.label}{unit}: the smallest difference detected with 80 % power in one comparison at level {LEVEL}"
    )


def pairs(results_dir: Path, metric: str) -> Iterator[tuple[tuple[str, ...], Power]]:
    """The names (task, data set, two methods) and the power of each two methods with a common image, by problem, and by
    the number of draws for a metric of all draws. Raises UserError where no run has the metric."""
    runs = frame.runs(results_dir).sort_values(["method", "particles", "steps"])
    of_draws = metric in PROTOCOLS and PROTOCOLS[metric].per == "draws"
    images = (scores_of_draws if of_draws else metrics_of_images)(results_dir, runs, metric)
    of_others = [name for name in runs.columns if name.split(".")[0] not in PARTS]
    apart = distinguishing_settings(runs, NAMES[:2], of_others)
    problems, draws = runs[frame.IDENTITY].map(_problem), runs["draws"] if of_draws else 1 + 0 * runs["draws"]
    for _, of_problem in runs.groupby([runs["task"], runs["dataset"], problems, draws]):
        groups = [group for _, group in of_problem.groupby(identity_texts(of_problem), sort=False)]
        firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
        settings = label_runs(firsts, ignored=("seed",))
        labels = [
            join_label(display_name("method", method), own)
            for method, own in zip(firsts["method"], settings, strict=True)
        ]
        tables = [_by_seed(group, images, metric) for group in groups]
        first = firsts.iloc[0]
        parts = {
            key.rpartition(".")[2]: display_name("", first[key])[:LONGEST] for key in apart if pd.notna(first[key])
        }
        names = join_label(display_name("task", first["task"]), parts), display_name("dataset", first["dataset"])
        for (label, a), (other, b) in itertools.combinations(zip(labels, tables, strict=True), 2):
            difference = (a - b).dropna(axis=1, how="all").dropna().mean(axis=1).dropna()
            if len(difference):
                yield (*names, label, other), statistics.paired_power(difference)


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


def _problem(identity: dict[str, str]) -> str:
    """One text for runs on one problem but for the seed; a run without a legible configuration has its own."""
    return json.dumps({key: text for key, text in identity.items() if key.split(".")[0] in (*PARTS, "run_id")})


def _by_seed(runs: pd.DataFrame, images: frame.Images, metric: str) -> pd.DataFrame:
    """The metric, images by seeds. Incomplete runs are left out where there are complete ones, as in tables."""
    complete = runs[runs["complete"] & (runs["n"] > 0)]
    used = (complete if len(complete) else runs).drop_duplicates("seed")
    seeds = dict(zip(used["run_id"], used["seed"], strict=True))
    return statistics.by_image(seeds, images, metric).rename(columns=seeds)


def _needed(power: Power, difference: float) -> str:
    return str(max(LEAST, images_needed(power.sd, difference, level=LEVEL))) if math.isfinite(power.sd) else "--"

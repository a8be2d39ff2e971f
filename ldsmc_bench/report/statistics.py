"""The numbers of runs for tables, figures and the page: means, how sure they are, and which differ from the best.

Images and seeds are crossed: each seed measures and restores the same images anew. In the model
`y[image, seed] = mean + image + seed + rest` every part is random, and the mean's variance is the sum of three parts:
how it would move with other images, with other seeds, and with another chance of each image in each seed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ldsmc_bench.calibration.power import smallest_difference
from ldsmc_bench.report.frame import Images
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol

LEVEL = 0.05
LEAST = 6  # images with which a signed-rank test can reach this level: its smallest p is 2 / 2**n
PASSES = "network passes per image: forward + 2 x backward of denoiser, decoder and encoder, each as one"
UNPAIRED = "no image has one, so no paired test; † by a normal test with bootstrap standard errors as if independent"
EXACT = "sw1_ratio"  # of runs that are judged by the exact posterior, in a figure of their own
Interval = tuple[float, float, float]  # a mean and the ends of its 95 % interval, NaN where unknown
UNKNOWN = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error `se`, None where one value says nothing of it, over `n` images in `seeds` seeds.

    The squares of `images`, `of_seeds` and `rest` sum to that of `se`. With one seed all of it counts for the images.
    """

    value: float
    se: float | None
    n: int
    seeds: int
    images: float | None = None
    of_seeds: float | None = None
    rest: float | None = None


def standard_error(values: Sequence[float] | np.ndarray) -> float | None:
    """The standard error of the mean of independent values; None of fewer than two."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def mean(table: pd.DataFrame) -> Estimate:
    """The mean of `table`, images by seeds, without gaps; the parts are those of a two-way analysis of variance.

    Components of variance by the method of moments (Searle, Casella & McCulloch 1992, ch. 4); a negative one is taken
    for 0. Raises ValueError for an empty table or a gap.
    """
    y = table.to_numpy(dtype=float)
    n, s = y.shape
    if not y.size or np.isnan(y).any():
        raise ValueError("a mean needs at least one image, and every image in every seed")
    value = math.fsum(y.ravel()) / y.size
    by_image, by_seed = y.mean(axis=1), y.mean(axis=0)
    if s == 1:
        se = standard_error(by_image)
        return Estimate(value, se, n, 1, images=se)
    ms_seeds = n * float(np.var(by_seed, ddof=1))  # mean squares
    if n == 1:
        se = math.sqrt(ms_seeds / s)
        return Estimate(value, se, 1, s, of_seeds=se)
    ms_images = s * float(np.var(by_image, ddof=1))
    residual = y - by_image[:, None] - by_seed[None, :] + value
    ms_rest = float((residual**2).sum()) / ((n - 1) * (s - 1))
    image, seed = max(ms_images - ms_rest, 0.0) / s, max(ms_seeds - ms_rest, 0.0) / n
    parts = (math.sqrt(image / n), math.sqrt(seed / s), math.sqrt(ms_rest / (n * s)))
    return Estimate(value, math.hypot(*parts), n, s, *parts)


def set_mean(values: Sequence[float], errors: Sequence[float | None], n: int) -> Estimate:
    """The mean over seeds of a set metric of `n` images, given each seed's value and its bootstrap standard error.

    The images are the same in every seed, so their part does not shrink with the seeds: it is the root mean square of
    `errors`. The seeds' part is the standard deviation of `values` over the root of their number.
    """
    seeds = len(values)
    value = math.fsum(values) / seeds
    known = [error for error in errors if error is not None and math.isfinite(error)]
    images = math.sqrt(math.fsum(e * e for e in known) / len(known)) if known else None
    of_seeds = standard_error(values)
    parts = [part for part in (images, of_seeds) if part is not None]
    return Estimate(value, math.hypot(*parts) if parts else None, n, seeds, images, of_seeds)


def paired_p(a: pd.Series, b: pd.Series) -> float:
    """Two-sided p of the Wilcoxon signed-rank test over the images that both have; NaN without a common image.

    Images without a difference are left out, as Wilcoxon did; when none differs, p is 1.
    """
    difference = (a - b).dropna()
    if not len(difference):
        return math.nan
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference.to_numpy(), zero_method="wilcox").pvalue)


class Power(NamedTuple):
    """`n` common images, the standard deviation of a difference on one, NaN for fewer than two, and the smallest
    difference that they detect with 80 % power, infinite for fewer than `LEAST`."""

    n: int
    sd: float
    smallest: float


def paired_power(difference: pd.Series) -> Power:
    """The power of a paired comparison, from the differences between two methods, NaN where one lacks an image."""
    n, sd = int(difference.count()), float(difference.std())
    return Power(n, sd, math.inf if n < LEAST else smallest_difference(sd, n, level=LEVEL))


def independent_p(a: Estimate, b: Estimate) -> float:
    """Two-sided p of a normal difference of two estimates with their standard errors; NaN where one is unknown."""
    if a.se is None or b.se is None:
        return math.nan
    spread = math.hypot(a.se, b.se)
    if spread == 0:
        return 1.0 if a.value == b.value else 0.0
    return float(2 * stats.norm.sf(abs(a.value - b.value) / spread))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for their number (Holm 1979), by name; NaN stays NaN and does not count."""
    known = sorted((value, name) for name, value in p.items() if not math.isnan(value))
    adjusted, largest = dict.fromkeys(p, math.nan), 0.0
    for rank, (value, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[name] = largest
    return adjusted


def metrics_of(images: Images, runs: pd.DataFrame) -> list[Protocol]:
    """The metrics that these runs have, in the order of the protocols."""
    known = {name for run_id in runs["run_id"] if run_id in images for name in images[run_id].dropna(axis=1, how="all")}
    known |= {str(name).removeprefix("sets.") for name in runs.dropna(axis=1, how="all")}
    return [protocol for protocol in PROTOCOLS.values() if protocol.name in known]


def by_image(run_ids: Iterable[str], images: Images, name: str) -> pd.DataFrame:
    """The values of `name`, images by runs, NaN where a run lacks an image; runs without any value are left out."""
    columns = {run_id: images[run_id][name].dropna() for run_id in run_ids if name in images.get(run_id, ())}
    return pd.DataFrame({run_id: column for run_id, column in columns.items() if len(column)}, dtype=float)


def interval(name: str, runs: pd.DataFrame, images: Images, among: pd.DataFrame | None = None) -> Interval:
    """The mean of a metric or cost, with its 95 % interval, of a run in its seeds.

    It is over the images that all runs of `among` have, by default those of `runs`, and over the seeds (Student's t).
    """
    if name in PROTOCOLS and PROTOCOLS[name].per == "set":
        return set_interval(name, runs)
    table = by_image((runs if among is None else among)["run_id"], images, name).dropna()
    table = table[[run_id for run_id in runs["run_id"] if run_id in table]]
    if table.empty:
        return UNKNOWN
    return estimate_interval(mean(table))


def estimate_interval(estimate: Estimate) -> Interval:
    """The mean of images with its 95 % interval (Student's t)."""
    free = max(estimate.n - 1 or estimate.seeds - 1, 1)  # of one image all variation is that of seeds
    half = math.nan if estimate.se is None else float(stats.t.ppf(0.975, free)) * estimate.se
    return estimate.value, estimate.value - half, estimate.value + half


def set_interval(name: str, runs: pd.DataFrame) -> Interval:
    """The mean over seeds of a set metric with its 95 % interval.

    One seed has its bootstrap interval. With several, the images are the same in each, so their part is the root mean
    square of the intervals; the spread of the seeds' means adds to it in squares.
    """
    stored = runs.reindex(columns=[f"sets.{name}{end}" for end in ("", "_low", "_high")]).astype(float)
    values, lows, highs = stored[stored.iloc[:, 0].notna()].to_numpy().T
    if not len(values):
        return UNKNOWN
    n, value = len(values), float(values.mean())
    spread = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else 0.0
    below, above = (math.hypot(math.sqrt(np.mean(part**2)), spread) for part in (values - lows, highs - values))
    return value, value - below, value + above


def add_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their costs, `seconds` and `passes`.

    A backward pass is taken for two forward ones, as is usual (Kaplan et al. 2020, arXiv 2001.08361, sec. 2.1). NaN
    where no call was counted.
    """
    ways = (("forward", 1.0), ("backward", 2.0))
    weights = {f"cost.{net}_{way}": weight for net in ("denoiser", "decoder", "encoder") for way, weight in ways}
    counted = rows.reindex(columns=list(weights))
    passes = (counted * pd.Series(weights)).sum(axis=1).where(counted.notna().any(axis=1))
    return rows.assign(passes=passes, seconds=rows.get("cost.seconds", math.nan))

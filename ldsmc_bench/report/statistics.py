"""The statistics of a table: how sure a mean over images and seeds is, and which rows differ from the best.

Images and seeds are crossed: each seed measures and restores the same images anew. In the model
`y[image, seed] = mean + image + seed + rest` every part is random, and the mean's variance is the sum of three parts:
how it would move with other images, with other seeds, and with another chance of each image in each seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05


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
        se = float(np.std(by_image, ddof=1) / math.sqrt(n)) if n > 1 else None
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
    of_seeds = float(np.std(values, ddof=1) / math.sqrt(seeds)) if seeds > 1 else None
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

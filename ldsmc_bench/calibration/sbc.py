"""Simulation-based calibration: ranks of truths among their draws, over images, are uniform where calibrated.

References: Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based calibration", arXiv
1804.06788; Säilynoja, Bürkner & Vehtari 2022, "Graphical test for discrete uniformity", arXiv 2103.10522.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from ldsmc_bench.calibration.draws import randomised_ranks

CELLS, SIMULATIONS = 100, 4000


@dataclass(frozen=True)
class Uniformity:
    """The nearness of n values to uniform: their empirical distribution function `ecdf` at `grid`.

    A calibrated sampler stays between `low` and `high` at all points at once with probability `level`, 0.95 if no
    other was asked for. `ks` is the Kolmogorov-Smirnov distance with its `p`; `chi2_p` is of counts in equal cells.
    """

    n: int
    grid: np.ndarray
    ecdf: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ks: float
    p: float
    chi2_p: float
    level: float

    @property
    def inside(self) -> bool:
        """True if the curve is within its bands everywhere."""
        return bool(np.all((self.low <= self.ecdf) & (self.ecdf <= self.high)))


def sbc_values(draws: np.ndarray, truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The ranks of one image's scalars (...) among those of its draws (K,...), as values in [0, 1).

    Random within its (K+1)-th, a value is exactly uniform where truth and draws are exchangeable, for every K.
    """
    ranks = randomised_ranks(draws, truth, generator)
    return (ranks + generator.random(truth.shape)) / (len(draws) + 1)


def mean_colour(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The mean colour (n,3), in [0, 1], of images uint8 (n,3,S,S) over the entries `hidden`, bool (3,S,S)."""
    return (images * hidden).sum(axis=(2, 3)) / np.maximum(hidden.sum(axis=(1, 2)), 1) / 255


def principal_coordinates(features: np.ndarray, mean: np.ndarray, cov: np.ndarray, count: int) -> np.ndarray:
    """The first coordinates (n, count) of features (n,F) along the principal axes of a reference set."""
    return (features - mean) @ np.linalg.eigh(cov).eigenvectors[:, : -count - 1 : -1]


def uniformity(values: np.ndarray, level: float = 0.95) -> Uniformity:
    """Compare one value an image (n,), such as `sbc_values`, with the uniform law on [0, 1).

    The bands are Säilynoja et al.'s for that law: pointwise binomial intervals, so wide that the whole curve of
    uniform values is within them with probability `level`. Raises ValueError without values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("uniformity of no value")
    cells = min(n, CELLS)
    grid = np.arange(1, cells) / cells
    tail = _pointwise(n, cells, level) / 2
    low, high = (stats.binom.ppf(q, n, grid) / n for q in (tail, 1 - tail))
    ks = stats.kstest(values, "uniform")
    counts = np.histogram(values, bins=max(2, min(20, n // 5)), range=(0, 1))[0]
    ecdf = np.searchsorted(np.sort(values), grid, side="right") / n
    p, chi2_p = float(ks.pvalue), float(stats.chisquare(counts).pvalue)
    return Uniformity(n, grid, ecdf, low, high, float(ks.statistic), p, chi2_p, level)


@lru_cache
def _pointwise(n: int, cells: int, level: float) -> float:
    """1 - the level of pointwise intervals that hold a whole curve with probability `level` (their algorithm 1)."""
    drawn = np.random.default_rng(0).multinomial(n, np.full(cells, 1 / cells), size=SIMULATIONS)
    counts, grid = drawn.cumsum(axis=1)[:, :-1], np.arange(1, cells) / cells
    tails = np.minimum(stats.binom.cdf(counts, n, grid), stats.binom.sf(counts - 1, n, grid))
    return float(np.quantile(2 * tails.min(axis=1, initial=0.5), 1 - level, method="lower") * (1 - 1e-9))

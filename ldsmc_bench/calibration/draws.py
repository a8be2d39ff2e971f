"""Scores of K draws of one measurement against the truth, computed from the 8-bit images that are saved.

All are of images in [0, 1]. Estimators are fair: on average they are the same for every K (Ferro 2014, "Fair scores
for ensemble forecasts").
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial.distance import pdist
from torch import Tensor

from ldsmc_bench.scoring.distances import Estimate, bootstrap
from ldsmc_bench.scoring.paired import ImageMetric, psnr

BLOCK = 2**14  # entries at once: 64 draws of them are 8 MB in float64
PAIRS = 32  # of draws, for their diversity


@dataclass(frozen=True)
class DrawMetrics:
    """The scores of one image's draws; None where a network for them is missing.

    `psnr_mean` and `perceptual_mean` are of the mean of the draws; `diversity` is the mean perceptual distance between
    two draws. Over the hidden entries: `spread`, the mean standard deviation of the draws; `crps`; `variance_sum` and
    `error_sum`, whose ratio is the square of `spread_skill`; `histogram`, how many truths have each rank 0..K among the
    draws. `energy` is the CRPS of vectors: of the images' features.
    """

    psnr_mean: float
    spread: float
    crps: float
    variance_sum: float
    error_sum: float
    histogram: tuple[int, ...]
    energy: float | None = None
    perceptual_mean: float | None = None
    diversity: float | None = None

    @property
    def draws(self) -> int:
        return len(self.histogram) - 1

    def scalars(self) -> dict[str, float]:
        """The scores by name, without those that the image does not have."""
        names = ("psnr_mean", "perceptual_mean", "spread", "crps", "energy", "diversity")
        values = {name: getattr(self, name) for name in names}
        if self.error_sum > 0:
            values["spread_skill"] = math.sqrt(self.variance_sum / self.error_sum)
        for percent in (50, 90):
            values[f"coverage_{percent}"] = coverage(np.array(self.histogram), percent / 100)
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Pooled:
    """The scores that pool the entries of n images, with 95 % intervals over images.

    `levels` are the nominal ones of `coverage_50` and `coverage_90`. `shares` (K+1,) are those of the ranks, and
    `errors` their standard errors over images: entries of one image are no independent trials.
    """

    n: int
    spread_skill: Estimate
    coverage_50: Estimate
    coverage_90: Estimate
    levels: tuple[float, float]
    shares: np.ndarray
    errors: np.ndarray


def draw_metrics(
    draws: Tensor,
    truth: Tensor,
    hidden: Tensor,
    generator: np.random.Generator,
    features: Callable[[Tensor], np.ndarray] | None = None,
    perceptual: ImageMetric | None = None,
) -> DrawMetrics:
    """The scores of draws uint8 (K,3,S,S) of one measurement, K >= 2, whose truth is uint8 (3,S,S).

    `hidden`, bool (3,S,S), has the entries to judge: those that the measurement hides, or all. `generator` breaks ties
    of 8-bit values, one number an entry. `features` maps uint8 images to (n,F). `perceptual` is given the mean of the
    draws in 8 bits. Raises ValueError for a single draw and where nothing is hidden.
    """
    count = len(draws)
    if count < 2 or not hidden.any():
        raise ValueError(f"scores of draws need two draws and a hidden entry, got {count} and {int(hidden.sum())}")
    values, target = draws[:, hidden].numpy(), truth[hidden].numpy()
    ranks = randomised_ranks(values, target, generator)
    sums = np.zeros(4)
    for start in range(0, len(target), BLOCK):
        x, t = values[:, start : start + BLOCK] / 255, target[start : start + BLOCK] / 255
        variance = x.var(axis=0, ddof=1)
        sums += [np.sqrt(variance).sum(), fair_crps(x, t).sum(), variance.sum(), np.square(x.mean(axis=0) - t).sum()]
    spread, crps, variance_sum, error_sum = sums.tolist()
    mean = draws.double().mean(dim=0)
    energy = perceptual_mean = diversity = None
    if features is not None:
        energy = fair_energy(features(draws), features(truth[None])[0])
    if perceptual is not None:
        perceptual_mean = perceptual(mean.round().to(truth)[None], truth[None])
        distances = [perceptual(draws[i : i + 1], draws[j : j + 1]) for i, j in _pairs(count)]
        known = [distance for distance in distances if distance is not None]
        diversity = float(np.mean(known)) if known else None
    return DrawMetrics(
        psnr_mean=psnr(mean, truth),
        spread=spread / len(target),
        crps=crps / len(target),
        variance_sum=variance_sum * (count + 1) / count,
        error_sum=error_sum,
        histogram=tuple(np.bincount(ranks, minlength=count + 1).tolist()),
        energy=energy,
        perceptual_mean=perceptual_mean,
        diversity=diversity,
    )


def pool(images: Sequence[DrawMetrics]) -> Pooled:
    """The pooled scores of two or more images with equally many draws; intervals are by resampling the images.

    Spread over skill is pooled as the root of a ratio of sums (Fortin et al. 2014, "Why should ensemble spread match
    the RMSE of the ensemble mean?", eq. 15). Raises ValueError for one image and for different numbers of draws.
    """
    n, draws = len(images), {image.draws for image in images}
    if n < 2 or len(draws) > 1:
        raise ValueError(f"pooling needs two images with equally many draws, got {n} with {sorted(draws)} draws")
    histograms = np.array([image.histogram for image in images], dtype=float)
    variances, errors = np.array([(image.variance_sum, image.error_sum) for image in images]).T
    ratio = bootstrap(lambda counts: math.sqrt(counts @ variances / max(counts @ errors, 1e-300)), n)
    half, most = (bootstrap(partial(_resampled_coverage, histograms, level), n) for level in (0.5, 0.9))
    sizes = histograms.sum(axis=1, keepdims=True)
    shares = histograms.sum(axis=0) / sizes.sum()
    residual = histograms - sizes * shares  # of a ratio of sums (Cochran 1977, "Sampling Techniques", eq. 6.10)
    standard = np.sqrt(np.square(residual).sum(axis=0) * n / (n - 1)) / sizes.sum()
    return Pooled(n, ratio, half, most, (nominal(draws.pop(), 0.5), nominal(images[0].draws, 0.9)), shares, standard)


def randomised_ranks(draws: np.ndarray, truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The ranks 0..K of the truth (...) among draws (K,...), at random among draws of equal value.

    Exactly uniform where truth and draws are exchangeable, however many values they share. One number of the generator
    for each rank.
    """
    ties = (draws == truth).sum(axis=0)
    return (draws < truth).sum(axis=0) + np.floor(generator.random(truth.shape) * (ties + 1)).astype(int)


def fair_crps(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The continuous ranked probability score (...) of draws (K,...), in O(K log K).

    mean_k |x_k - x| - sum_jk |x_j - x_k| / (2 K (K-1)) (Ferro 2014), where by rising order the double sum is
    2 sum_i (2i - K - 1) x_(i).
    """
    count = len(draws)
    weights = 2 * np.arange(1, count + 1) - count - 1
    apart = np.tensordot(weights, np.sort(draws, axis=0), axes=1) / (count * (count - 1))
    return np.abs(draws - truth).mean(axis=0) - apart


def fair_energy(draws: np.ndarray, truth: np.ndarray) -> float:
    """The energy score of vectors (K,F): as the CRPS, with Euclidean norms (Gneiting & Raftery 2007, sec. 4.3)."""
    return float(np.linalg.norm(draws - truth, axis=1).mean() - pdist(draws).mean() / 2)


def nominal(draws: int, level: float) -> float:
    """The coverage, nearest to `level`, that a central interval between two of the draws has where calibrated."""
    lower, upper = _interval(draws, level)
    return (upper - lower) / (draws + 1)


def coverage(histogram: np.ndarray, level: float) -> float:
    """The share of ranks in the central interval of `nominal(K, level)`, from their histogram (K+1,)."""
    lower, upper = _interval(len(histogram) - 1, level)
    return float(histogram[lower:upper].sum() / histogram.sum())


def _interval(draws: int, level: float) -> tuple[int, int]:
    """The order statistics l < u = K + 1 - l between which ranks l to u - 1 lie."""
    lower = min(range(1, draws // 2 + 1), key=lambda lower: abs(1 - 2 * lower / (draws + 1) - level))
    return lower, draws + 1 - lower


def _resampled_coverage(histograms: np.ndarray, level: float, counts: np.ndarray) -> float:
    return coverage(counts @ histograms, level)


def _pairs(count: int) -> list[tuple[int, int]]:
    """At most PAIRS pairs of draws, all where there are no more, each draw in about equally many."""
    ring = [(i, (i + apart) % count) for apart in range(1, count // 2 + 1) for i in range(count)]
    return list({frozenset(pair): pair for pair in ring}.values())[:PAIRS]

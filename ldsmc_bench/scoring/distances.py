"""Distances between sets of features, with standard errors and intervals by resampling the images.

The Fréchet distance (FID, Heusel et al. 2017) sees each set as a Gaussian; the kernel distance (KID, Bińkowski et al.
2018) is unbiased however small the sets.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Counts = np.ndarray  # (n,) how often each image is in a sample of n: ones for the sample itself


@dataclass(frozen=True)
class Estimate:
    """A set metric's value with its standard error `se` and its 95 % interval, `low` to `high`."""

    value: float
    se: float
    low: float
    high: float


def bootstrap(statistic: Callable[[Counts], float], n: int, *, resamples: int = 200, seed: int = 0) -> Estimate:
    """The statistic of n images, and how far it would move with other n images of the same kind (Efron 1979).

    The resamples are the same at every call; the standard error is their standard deviation. The interval are their
    2.5 % and 97.5 % points, moved as a whole until the resamples' mean is the value: resamples repeat images, which by
    itself raises a Fréchet distance. The bias of set metrics on few images is not in it.
    """
    value = statistic(np.ones(n))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    draws = draws[draws.max(axis=1) < max(n, 3)]  # without one of many n times over: no spread, no pairs to compare
    resampled = np.array([statistic(counts) for counts in draws])
    low, high = np.percentile(resampled - resampled.mean(), (2.5, 97.5))
    return Estimate(value, float(resampled.std(ddof=1)), value + float(low), value + float(high))


def moments(features: np.ndarray, counts: Counts | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D), NaN of one row, in float64 of features (n, D), each row taken `counts`
    times or once."""
    features = np.asarray(features, dtype=np.float64)
    counts = np.ones(len(features)) if counts is None else counts
    mean = counts @ features / counts.sum()
    centred = features - mean
    return mean, (centred * counts[:, None]).T @ centred / ((counts.sum() - 1) or np.nan)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """|mean1 - mean2|² + tr(cov1 + cov2 - 2 (cov1 cov2)^½), never negative.

    tr (S1 S2)^½ is the sum of the square roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric: real and stable
    for covariances of low rank as well, where a matrix square root of the product is not.
    """
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    difference = mean1 - mean2
    return _combine(difference, np.trace(cov1), np.trace(cov2), root @ cov2 @ root)


def frechet_estimate(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> Estimate:
    """The distance of features (n, D) to a reference with this mean and covariance, with its bootstrap errors."""
    few = _frechet_of_few(features, mean, cov) if len(features) < features.shape[1] else None
    estimate = bootstrap(few or (lambda counts: frechet_distance(*moments(features, counts), mean, cov)), len(features))
    return replace(estimate, low=max(0.0, estimate.low))


def _frechet_of_few(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> Callable[[Counts], float]:
    """The same distances from matrices (n, n): with n < D images and centred, weighted rows Y, the covariance is YᵀY,
    and Yᵀ Y S has the eigenvalues of Y S Yᵀ and zeros."""
    features = np.asarray(features, dtype=np.float64)
    middle = features.mean(axis=0)
    centred = features - middle
    squares, products, trace = np.square(centred).sum(axis=1), centred @ cov @ centred.T, np.trace(cov)

    def distance(counts: Counts) -> float:
        n = counts.sum()
        share = counts / n
        shift = share @ centred
        seen = counts > 0
        row = products @ share
        gram = (products - row[:, None] - row[None, :] + share @ row)[np.ix_(seen, seen)]
        weight = np.sqrt(counts[seen] / (n - 1))
        spread = (counts @ squares - n * shift @ shift) / (n - 1)
        return _combine(middle + shift - mean, spread, trace, weight[:, None] * gram * weight)

    return distance


def _combine(difference: np.ndarray, trace1: float, trace2: float, product: np.ndarray) -> float:
    """`product` is symmetric and has the eigenvalues of cov1 cov2, but for zeros."""
    overlap = np.sqrt(np.linalg.eigvalsh(product).clip(min=0)).sum()
    return max(0.0, float(difference @ difference + trace1 + trace2 - 2 * overlap))


def kernel_estimate(features: np.ndarray, reference: np.ndarray) -> Estimate:
    """The kernel distance of features (n, D) to those of a reference (m, D), held fixed, with its bootstrap errors."""
    return bootstrap(kernel_statistic(features, reference), len(features))


def kernel_statistic(features: np.ndarray, reference: np.ndarray) -> Callable[[Counts], float]:
    """Squared maximum mean discrepancy of a resample: the unbiased U-statistic over all pairs of different images.

    Kernel (a·b/D + 1)³, as in the paper's Sec. 4. Zero on average for two samples of one distribution, hence at times
    below zero. The public codes (clean-fid among them) average it over random subsets.
    """
    within, between = _kernel(features, features), _kernel(features, reference).mean(1)
    of_reference = _mean_of_pairs(_kernel(reference, reference), np.ones(len(reference)))
    return lambda counts: _mean_of_pairs(within, counts) + of_reference - 2 * float(counts @ between / counts.sum())


def _mean_of_pairs(kernel: np.ndarray, counts: Counts) -> float:
    """The kernel's mean over pairs of different images; an image drawn twice is no pair with itself."""
    same = np.square(counts) @ np.diag(kernel)
    return float((counts @ kernel @ counts - same) / (counts.sum() ** 2 - np.square(counts).sum()))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return (a @ b.T / a.shape[1] + 1) ** 3

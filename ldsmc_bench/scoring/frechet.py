"""The Fréchet distance between two sets of features, each seen as a Gaussian (FID, Heusel et al. 2017)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ldsmc_bench.scoring.bootstrap import Counts, Estimate, bootstrap


def moments(features: np.ndarray, counts: Counts | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) in float64 of features (n, D), each row taken `counts` times or once."""
    features = np.asarray(features, dtype=np.float64)
    counts = np.ones(len(features)) if counts is None else counts
    mean = counts @ features / counts.sum()
    centred = features - mean
    return mean, (centred * counts[:, None]).T @ centred / (counts.sum() - 1)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """|mean1 - mean2|² + tr(cov1 + cov2 - 2 (cov1 cov2)^½), never negative.

    tr (S1 S2)^½ is the sum of the square roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric: real and stable
    for covariances of low rank as well, where a matrix square root of the product is not.
    """
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    difference = mean1 - mean2
    return _distance(difference, np.trace(cov1), np.trace(cov2), root @ cov2 @ root)


def frechet_estimate(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> Estimate:
    """The distance of features (n, D) to a reference with this mean and covariance, with its bootstrap errors."""
    few = len(features) < features.shape[1]
    estimate = bootstrap((_among_few if few else _among_many)(features, mean, cov), len(features))
    return replace(estimate, low=max(0.0, estimate.low))


def _among_many(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> Callable[[Counts], float]:
    return lambda counts: frechet_distance(*moments(features, counts), mean, cov)


def _among_few(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> Callable[[Counts], float]:
    """The same distances from matrices (n, n): with n < D images and centred, weighted rows Y, the covariance is YᵀY,
    and Yᵀ Y S has the eigenvalues of Y S Yᵀ and zeros. A resample of 1024 images takes a fraction of a second."""
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
        return _distance(middle + shift - mean, spread, trace, weight[:, None] * gram * weight)

    return distance


def _distance(difference: np.ndarray, trace1: float, trace2: float, product: np.ndarray) -> float:
    """`product` is symmetric and has the eigenvalues of cov1 cov2, but for zeros."""
    overlap = np.sqrt(np.linalg.eigvalsh(product).clip(min=0)).sum()
    return max(0.0, float(difference @ difference + trace1 + trace2 - 2 * overlap))

"""The Fréchet distance between two sets of features, each seen as a Gaussian (FID, Heusel et al. 2017)."""

import numpy as np

from ldsmc_bench.scoring.bootstrap import Counts, bootstrap_se


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
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    difference = mean1 - mean2
    return max(0.0, float(difference @ difference + np.trace(cov1) + np.trace(cov2) - 2 * overlap))


def frechet_se(features: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    """Bootstrap standard error of the distance of features (n, D) to a reference with this mean and covariance."""
    return bootstrap_se(lambda counts: frechet_distance(*moments(features, counts), mean, cov), len(features))

"""The kernel distance between two sets of features (KID, Bińkowski et al. 2018), unbiased however small the sets."""

import numpy as np

from ldsmc_bench.scoring.bootstrap import Counts, Estimate, bootstrap


def kernel_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Squared maximum mean discrepancy of features (n, D) and (m, D): the unbiased U-statistic over all pairs.

    Kernel (a·b/D + 1)³, as in the paper's Sec. 4. Zero on average for two samples of one distribution, hence at times
    below zero. The public codes (clean-fid among them) average the same statistic over random subsets instead, which
    is the same number on average and, for one subset of all images, the same number.
    """
    of_reference = _mean_of_pairs(_kernel(reference, reference))
    return _distance(_kernel(features, features), _kernel(features, reference).mean(1), of_reference)


def kernel_estimate(features: np.ndarray, reference: np.ndarray) -> Estimate:
    """The distance with its bootstrap errors, the reference held fixed."""
    within, between = _kernel(features, features), _kernel(features, reference).mean(1)
    of_reference = _mean_of_pairs(_kernel(reference, reference))
    return bootstrap(lambda counts: _distance(within, between, of_reference, counts), len(features))


def _distance(within: np.ndarray, between: np.ndarray, of_reference: float, counts: Counts | None = None) -> float:
    """`between` (n,): each image's mean over the reference."""
    counts = np.ones(len(within)) if counts is None else counts
    return _mean_of_pairs(within, counts) + of_reference - 2 * float(counts @ between / counts.sum())


def _mean_of_pairs(kernel: np.ndarray, counts: Counts | None = None) -> float:
    """The kernel's mean over pairs of different images; an image drawn twice is no pair with itself."""
    counts = np.ones(len(kernel)) if counts is None else counts
    same = np.square(counts) @ np.diag(kernel)
    return float((counts @ kernel @ counts - same) / (counts.sum() ** 2 - np.square(counts).sum()))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return (a @ b.T / a.shape[1] + 1) ** 3

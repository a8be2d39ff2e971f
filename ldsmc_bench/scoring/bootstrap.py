"""Standard errors of set metrics by resampling the images."""

from collections.abc import Callable

import numpy as np

Counts = np.ndarray  # (n,) how often each image is in a sample of n: ones for the sample itself


def bootstrap_se(statistic: Callable[[Counts], float], n: int, *, resamples: int = 200, seed: int = 0) -> float:
    """The standard deviation of `statistic` over samples of n images drawn with replacement (Efron 1979).

    It is the same at every call, and tells how far the number would move with other images of the same kind. It knows
    nothing of the bias that set metrics have on few images, nor of the reference set, which is held fixed.
    """
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    draws = draws[draws.max(axis=1) < n]  # one image n times over has no spread, and no pairs to compare
    return float(np.std([statistic(counts) for counts in draws], ddof=1))

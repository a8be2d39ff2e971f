"""Standard errors and intervals of set metrics by resampling the images."""

from collections.abc import Callable
from dataclasses import dataclass

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

    Drawn with replacement, the same ones at every call; the standard error is their standard deviation. The interval
    are their 2.5 % and 97.5 % points, moved as a whole until the resamples' mean is the value: resamples repeat images,
    which by itself raises a Fréchet distance. Neither knows of the bias that set metrics have on few images, nor of the
    reference set, which is held fixed.
    """
    value = statistic(np.ones(n))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    draws = draws[draws.max(axis=1) < n]  # one image n times over has no spread, and no pairs to compare
    resampled = np.array([statistic(counts) for counts in draws])
    low, high = np.percentile(resampled - resampled.mean(), (2.5, 97.5))
    return Estimate(value, float(resampled.std(ddof=1)), value + float(low), value + float(high))

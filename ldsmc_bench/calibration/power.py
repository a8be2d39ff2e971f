"""Power of a paired comparison: which difference n images detect, and how many images a difference takes.

For the two-sided z-test of a mean difference: n d^2 = (z_(1-level/2) + z_power)^2 sd^2. Wilcoxon's signed-rank test,
which the tables use, takes 1.05 times as many images where differences are normal (Hodges & Lehmann 1956).
"""

import math

from scipy.stats import norm


def smallest_difference(sd: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest true mean difference that n images detect, `sd` being that of the differences between two methods
    on one image. Raises ValueError for no image."""
    if n < 1:
        raise ValueError("no image detects anything")
    return _sum_of_quantiles(power, level) * sd / math.sqrt(n)


def images_needed(sd: float, difference: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """The least number of images that detects this true mean difference. Raises ValueError for a difference of 0."""
    if difference == 0:
        raise ValueError("no number of images detects a difference of 0")
    return max(1, math.ceil((_sum_of_quantiles(power, level) * sd / difference) ** 2))


def _sum_of_quantiles(power: float, level: float) -> float:
    return float(norm.ppf(1 - level / 2) + norm.ppf(power))

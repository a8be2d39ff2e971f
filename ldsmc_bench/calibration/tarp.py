"""Expected coverage of balls around random references, a test of draws in many dimensions.

Reference: Lemos et al. 2023, "Sampling-based accuracy testing of posterior estimators for general inference" (TARP),
arXiv 2302.03026, algorithm 2. The coverage at credibility c is the share of images whose value is below c, so the
curve, its bands and its test are those of `sbc.uniformity`.
"""

import numpy as np

from ldsmc_bench.calibration.sbc import sbc_values


def tarp_value(draws: np.ndarray, truth: np.ndarray, reference: np.ndarray, generator: np.random.Generator) -> float:
    """The share of draws (K,F) nearer to the reference (F,) than the truth (F,), made continuous as `sbc_values` are.

    Uniform over images where calibrated, for every reference that was chosen without knowledge of the truth.
    """
    distances = np.linalg.norm(np.vstack([truth, draws]) - reference, axis=1)
    return float(sbc_values(distances[1:], distances[0], generator))

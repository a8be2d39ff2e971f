import numpy as np
import pytest
from scipy import stats

from ldsmc_bench.calibration.power import images_needed, smallest_difference


def test_the_smallest_difference_is_detected_in_80_percent() -> None:
    difference = smallest_difference(0.02, 64)
    assert difference == pytest.approx(0.0070, abs=5e-5)  # (1.960 + 0.842) 0.02 / 8
    rng = np.random.default_rng(0)
    z = rng.normal(difference, 0.02, size=(20_000, 64)).mean(axis=1) / (0.02 / 8)
    assert (np.abs(z) > stats.norm.ppf(0.975)).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("n", [1, 64, 1000])
def test_as_many_images_are_needed_as_detect_a_difference(n: int) -> None:
    assert images_needed(0.3, smallest_difference(0.3, n) * (1 + 1e-9)) == n
    assert images_needed(0.3, -smallest_difference(0.3, n) * (1 + 1e-9)) == n


def test_other_levels_and_what_has_no_answer() -> None:
    assert images_needed(1, 0.5, power=0.9, level=0.01) == 60  # (2.576 + 1.282)^2 / 0.25 = 59.5
    assert images_needed(0, 0.1) == 1
    with pytest.raises(ValueError, match="difference of 0"):
        images_needed(1, 0)
    with pytest.raises(ValueError, match="no image"):
        smallest_difference(1, 0)

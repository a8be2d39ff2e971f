import numpy as np
import pytest

from ldsmc_bench.scoring.bootstrap import bootstrap_se


def test_a_mean_has_its_textbook_error() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=300)
    error = bootstrap_se(lambda counts: float(counts @ values / counts.sum()), len(values), resamples=4000)
    assert error == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.05)


def test_every_resample_has_as_many_images_and_every_call_the_same_ones() -> None:
    def resamples() -> list[np.ndarray]:
        seen: list[np.ndarray] = []

        def first(counts: np.ndarray) -> float:
            seen.append(counts)
            return float(counts[0])

        bootstrap_se(first, 20, resamples=50)
        return seen

    assert {int(counts.sum()) for counts in resamples()} == {20}
    np.testing.assert_array_equal(resamples(), resamples())

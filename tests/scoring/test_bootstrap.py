import numpy as np
import pytest

from ldsmc_bench.scoring.distances import bootstrap


def test_a_mean_has_its_textbook_error_and_interval() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=300)
    estimate = bootstrap(lambda counts: float(counts @ values / counts.sum()), len(values), resamples=4000)
    error = values.std() / np.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean(), rel=1e-12)
    assert estimate.se == pytest.approx(error, rel=0.05)
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_the_interval_is_around_the_value_where_resamples_are_biased() -> None:
    values = np.random.default_rng(1).normal(size=40)

    def spread(counts: np.ndarray) -> float:  # resamples repeat values: smaller by 1/n on average
        mean = counts @ values / counts.sum()
        return float(counts @ (values - mean) ** 2 / counts.sum()) - 100 * float((counts > 1).mean())

    estimate = bootstrap(spread, len(values))
    assert estimate.low < estimate.value < estimate.high


def test_every_resample_has_as_many_images_and_every_call_the_same_ones() -> None:
    def resamples() -> list[np.ndarray]:
        seen: list[np.ndarray] = []

        def first(counts: np.ndarray) -> float:
            seen.append(counts)
            return float(counts[0])

        bootstrap(first, 20, resamples=50)
        return seen

    assert {int(counts.sum()) for counts in resamples()} == {20}
    np.testing.assert_array_equal(resamples(), resamples())


def test_two_images_are_no_certainty() -> None:
    """Without the resamples of one image twice there was one resample alone, and so an error of 0."""
    values = np.array([1.0, 2.0])
    estimate = bootstrap(lambda counts: float(counts @ values / counts.sum()), 2)
    assert estimate.se > 0.3 and (estimate.low, estimate.high) == pytest.approx((1, 2), abs=0.1)

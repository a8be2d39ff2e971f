import numpy as np
import pytest
from scipy import stats

from ldsmc_bench.calibration.sbc import mean_colour, principal_coordinates, sbc_values, uniformity
from ldsmc_bench.calibration.tarp import tarp_value

POSTERIORS = {"exact": (1.0, 0.0), "narrow": (0.5, 0.0), "wide": (2.0, 0.0), "shifted": (1.0, 1.0)}


def gaussian(rng: np.random.Generator, n: int, count: int, scale: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Truths (n,) from N(0, 1) and draws (K, n) of the posterior given y = x + noise of std 1, scaled and shifted."""
    truth = rng.normal(size=n)
    mean, std = (truth + rng.normal(size=n)) / 2, np.sqrt(0.5)
    return mean + std * (shift + scale * rng.normal(size=(count, n))), truth


@pytest.mark.parametrize("count", [2, 16])
def test_ranks_of_exact_draws_are_uniform_and_wrong_ones_leave_the_bands(count: int) -> None:
    rng = np.random.default_rng(0)
    results = {name: uniformity(sbc_values(*gaussian(rng, 1000, count, *how), rng)) for name, how in POSTERIORS.items()}
    assert [result.inside for result in results.values()] == [True, False, False, False]
    assert results["exact"].p > 0.01 and results["exact"].chi2_p > 0.01
    assert all(results[name].p < 0.01 and results[name].chi2_p < 0.01 for name in POSTERIORS if name != "exact")
    early, late = (
        {name: float((result.ecdf - result.grid)[at]) for name, result in results.items()} for at in (20, -21)
    )
    assert early["narrow"] > 0.02 > -0.02 > late["narrow"]  # truths at the ends
    assert early["wide"] < -0.02 < 0.02 < late["wide"]  # truths in the middle
    assert early["shifted"] > 0.05 and late["shifted"] > 0.05  # truths below


@pytest.mark.parametrize("n", [20, 64, 300])
def test_bands_hold_a_whole_curve_of_uniform_values_in_95_percent(n: int) -> None:
    rng = np.random.default_rng(1)
    inside = np.mean([uniformity(rng.random(n)).inside for _ in range(400)])
    assert 0.92 < inside < 0.985  # discrete: never less than asked, but for chance


def test_p_values_are_uniform_for_two_draws_of_few_values() -> None:
    rng = np.random.default_rng(2)
    p = []
    for _ in range(300):
        drawn, truth = gaussian(rng, 50, 2, 1.0, 0.0)
        p.append(uniformity(sbc_values(drawn.round(), truth.round(), rng)).p)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_one_value_has_bands_and_none_is_refused() -> None:
    assert uniformity(np.array([0.3])).inside
    with pytest.raises(ValueError, match="no value"):
        uniformity(np.array([]))


def tarp(rng: np.random.Generator, scale: float, shift: float, prior: bool = False) -> np.ndarray:
    """TARP's values of 400 problems in 6 dimensions, with references from the prior."""
    values = []
    for _ in range(400):
        truth = rng.normal(size=6)
        mean, std = ((truth + rng.normal(size=6)) / 2, np.sqrt(0.5)) if not prior else (np.zeros(6), 1.0)
        drawn = mean + std * (shift + scale * rng.normal(size=(16, 6)))
        values.append(tarp_value(drawn, truth, rng.normal(size=6), rng))
    return np.array(values)


def test_coverage_of_balls_is_nominal_for_exact_draws_only() -> None:
    rng = np.random.default_rng(3)
    results = {name: uniformity(tarp(rng, *how)) for name, how in POSTERIORS.items()}
    assert {name: result.inside for name, result in results.items()} == {name: name == "exact" for name in POSTERIORS}
    assert results["exact"].p > 0.01 > max(results[name].p for name in POSTERIORS if name != "exact")


def test_draws_of_the_prior_are_calibrated_as_the_page_says() -> None:
    assert uniformity(tarp(np.random.default_rng(4), 1.0, 0.0, prior=True)).inside


def test_values_of_equal_distances_are_uniform() -> None:
    rng = np.random.default_rng(5)
    values = [tarp_value(np.ones((3, 2)), np.ones(2), np.zeros(2), rng) for _ in range(300)]
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_scalars_of_images() -> None:
    pictures = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    pictures[1, :, :2] = np.array([255, 51, 0])[:, None, None]
    hidden = np.zeros((3, 4, 4), dtype=bool)
    hidden[:, :2] = True
    np.testing.assert_allclose(mean_colour(pictures, hidden), [[0, 0, 0], [1, 0.2, 0]])
    features = np.array([[1.0, 5.0, 0.0], [3.0, 1.0, 2.0]])
    coordinates = principal_coordinates(features, np.ones(3), np.diag([1.0, 9.0, 4.0]), 2)
    np.testing.assert_allclose(np.abs(coordinates), [[4, 1], [0, 1]])

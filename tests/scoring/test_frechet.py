import warnings
from typing import Any

import numpy as np
import pytest
from cleanfid import fid
from scipy import linalg
from scipy.linalg import sqrtm

from ldsmc_bench.scoring.distances import frechet_distance, frechet_estimate, moments


def spd(generator: np.random.Generator, dimension: int, rank: int) -> np.ndarray:
    root = generator.normal(size=(dimension, rank))
    return root @ root.T / rank


def test_diagonal_gaussians_have_a_closed_form() -> None:
    mean1, mean2 = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    std1, std2 = np.array([1.0, 2.0, 0.1]), np.array([3.0, 0.5, 0.0])
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((std1 - std2) ** 2)
    assert frechet_distance(mean1, np.diag(std1**2), mean2, np.diag(std2**2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_matrix_square_root(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mean1, mean2 = generator.normal(size=(2, 12))
    cov1, cov2 = spd(generator, 12, 40), spd(generator, 12, 40)
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-9)


def test_covariances_of_low_rank_stay_finite_symmetric_and_zero_for_themselves() -> None:
    generator = np.random.default_rng(0)
    low, full = spd(generator, 20, 3), spd(generator, 20, 60)
    zero = np.zeros(20)
    assert frechet_distance(zero, low, zero, full) == pytest.approx(frechet_distance(zero, full, zero, low), rel=1e-7)
    assert frechet_distance(zero, low, zero, low) == pytest.approx(0, abs=1e-6)


def test_counts_mean_repetition() -> None:
    features = np.random.default_rng(0).normal(size=(6, 4))
    counts = np.array([2, 0, 1, 3, 0, 0])
    mean, cov = moments(features, counts)
    repeated = np.repeat(features, counts, axis=0)
    np.testing.assert_allclose(mean, repeated.mean(0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(repeated.T), rtol=1e-12)


@pytest.mark.parametrize(("n", "dimension"), [(400, 24), (200, 150)])
def test_agrees_with_clean_fid_on_the_same_features(monkeypatch: pytest.MonkeyPatch, n: int, dimension: int) -> None:
    def square_root(matrix: np.ndarray, **_: Any) -> tuple[np.ndarray, float]:
        return sqrtm(matrix), 0.0  # clean-fid asks for what SciPy is about to drop

    monkeypatch.setattr(linalg, "sqrtm", square_root)
    generator = np.random.default_rng(3)
    a = generator.gamma(1.0, size=(n, dimension)) @ generator.normal(size=(dimension, dimension)) / dimension
    b = a[: n - 20] + 0.1 * generator.normal(size=(n - 20, dimension)) + 0.2
    assert frechet_distance(*moments(a), *moments(b)) == pytest.approx(fid.fid_from_feats(a, b), rel=1e-6)


@pytest.mark.parametrize("n", [5, 40, 99])
def test_few_images_have_the_same_estimate_from_small_matrices(n: int) -> None:
    """Fewer images than dimensions: the product of covariances is never made, and the distances are the same."""
    generator = np.random.default_rng(n)
    features, reference = generator.gamma(1.0, size=(n, 100)), generator.gamma(1.2, size=(300, 100))
    mean, cov = moments(reference)
    found = frechet_estimate(features, mean, cov)
    assert found.value == pytest.approx(frechet_distance(*moments(features), mean, cov), rel=1e-6)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=200)
    whole = [frechet_distance(*moments(features, counts), mean, cov) for counts in draws if counts.max() < n]
    assert found.se == pytest.approx(np.std(whole, ddof=1), rel=1e-4)
    assert found.high - found.low == pytest.approx(np.ptp(np.percentile(whole, (2.5, 97.5))), rel=1e-4)


def test_the_intervals_hold_what_other_samples_of_this_size_have_on_average() -> None:
    generator = np.random.default_rng(1)
    mean, cov = np.full(3, 0.8), np.eye(3)
    samples = [generator.normal(size=(200, 3)) for _ in range(60)]
    estimates = [frechet_estimate(sample, mean, cov) for sample in samples]
    values = [estimate.value for estimate in estimates]
    assert np.mean([estimate.se for estimate in estimates[:5]]) == pytest.approx(np.std(values, ddof=1), rel=0.25)
    assert sum(e.low <= np.mean(values) <= e.high for e in estimates) >= 51  # of 57 on average
    assert frechet_estimate(samples[0], mean, cov) == estimates[0]


def test_no_interval_goes_below_zero() -> None:
    features = np.random.default_rng(2).normal(size=(300, 2))
    estimate = frechet_estimate(features, *moments(features))
    assert estimate.value == pytest.approx(0, abs=1e-9)
    assert 0 == estimate.low < estimate.high


def test_a_single_row_has_a_mean_and_no_covariance_and_nothing_is_printed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, cov = moments(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1, 2] and np.isnan(cov).all()

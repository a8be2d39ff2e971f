import numpy as np
import pytest
from scipy.linalg import sqrtm

from ldsmc_bench.scoring.frechet import frechet_distance, frechet_se, moments


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


def test_standard_error_is_the_spread_over_fresh_samples() -> None:
    generator = np.random.default_rng(1)
    mean, cov = np.full(3, 0.8), np.eye(3)
    samples = [generator.normal(size=(400, 3)) for _ in range(60)]
    spread = np.std([frechet_distance(*moments(sample), mean, cov) for sample in samples], ddof=1)
    errors = [frechet_se(sample, mean, cov) for sample in samples[:5]]
    assert np.mean(errors) == pytest.approx(spread, rel=0.25)
    assert frechet_se(samples[0], mean, cov) == errors[0]

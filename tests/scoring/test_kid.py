import numpy as np
import pytest
from cleanfid import fid

from ldsmc_bench.scoring.distances import kernel_estimate, kernel_statistic


def kernel_distance(features: np.ndarray, reference: np.ndarray) -> float:
    return kernel_statistic(features, reference)(np.ones(len(features)))


def test_is_the_u_statistic_over_pairs() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 3)), generator.normal(size=(4, 3))

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / 3 + 1) ** 3)

    within_a = np.mean([kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    within_b = np.mean([kernel(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([kernel(u, v) for u in a for v in b])
    assert kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * between, rel=1e-12)


def test_is_clean_fids_with_one_subset_of_all_images() -> None:
    generator = np.random.default_rng(4)
    a, b = generator.gamma(1.0, size=(60, 32)), generator.gamma(1.3, size=(60, 32))
    assert kernel_distance(a, b) == pytest.approx(fid.kernel_distance(a, b, num_subsets=1), rel=1e-9)


def test_is_clean_fids_on_average_over_subsets() -> None:
    generator = np.random.default_rng(5)
    a, b = generator.gamma(1.0, size=(60, 32)), generator.gamma(1.3, size=(150, 32))
    state = np.random.get_state()
    np.random.seed(0)  # clean-fid draws from NumPy's global generator
    subsets = [fid.kernel_distance(a, b, num_subsets=20, max_subset_size=40) for _ in range(50)]
    np.random.set_state(state)
    assert kernel_distance(a, b) == pytest.approx(np.mean(subsets), abs=3 * np.std(subsets) / np.sqrt(50))


def test_zero_on_average_for_one_distribution_however_few_the_images() -> None:
    generator = np.random.default_rng(1)
    values = [kernel_distance(generator.normal(size=(8, 16)), generator.normal(size=(30, 16))) for _ in range(2000)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_positive_for_shifted_features() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(200, 16)), generator.normal(size=(300, 16)) + 0.5
    estimate = kernel_estimate(a, b)
    assert estimate.value == kernel_distance(a, b) > 5 * estimate.se > 0
    assert 0 < estimate.low < estimate.value < estimate.high


def test_standard_error_is_the_spread_over_fresh_samples() -> None:
    generator = np.random.default_rng(3)
    reference = generator.normal(size=(300, 8))
    samples = [generator.normal(size=(150, 8)) + 0.4 for _ in range(80)]
    spread = np.std([kernel_distance(sample, reference) for sample in samples], ddof=1)
    errors = [kernel_estimate(sample, reference).se for sample in samples[:8]]
    assert np.mean(errors) == pytest.approx(spread, rel=0.3)

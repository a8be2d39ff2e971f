"""Scores of draws from a known posterior against closed forms: sets that are moved, and exact ones."""

import pytest
import torch
from scipy.stats import wasserstein_distance

from ldsmc_bench.mixture.distances import project, sliced
from ldsmc_bench.mixture.law import GaussianMixture, law_of
from ldsmc_bench.mixture.schedule import karras
from ldsmc_bench.mixture.scores import exactness
from ldsmc_bench.sampling.chain import paper_chain
from tests.sampling.known import chain_law


@pytest.fixture(scope="module")
def law() -> GaussianMixture:
    return law_of("scattered", 4, 0, 0)


def draws(law: GaussianMixture, seed: int, count: int = 400) -> torch.Tensor:
    return law.sample(count, torch.Generator().manual_seed(seed))


def test_the_distance_along_a_direction_is_scipys() -> None:
    a, b = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions = torch.eye(3, dtype=torch.float64)
    expected = [wasserstein_distance(a[:, i].numpy(), b[:, i].numpy()) for i in range(3)]
    assert sliced(project(a, directions), project(b, directions)).tolist() == pytest.approx(expected)


def test_exact_draws_are_at_the_floor(law: GaussianMixture) -> None:
    ratios = torch.tensor([exactness(draws(law, seed), law, 0.0, None)["sw1_ratio"] for seed in range(10, 30)])
    assert ratios.mean() == pytest.approx(1, abs=0.25)


def test_a_shift_is_measured(law: GaussianMixture) -> None:
    """By v, sw1 is the mean of |u v| over directions u and max_sw1 nearly |v|, where the law is narrow against it."""
    narrow = GaussianMixture(law.log_weights[:1] * 0, law.means[:1], torch.eye(4, dtype=torch.float64)[None] * 0.01)
    scores = exactness(draws(narrow, 5) + torch.tensor([3.0, 0, 0, 0]), narrow, 0.0, None)
    assert scores["sw1"] == pytest.approx(3 * 0.4244, rel=0.1)  # E|u_1| on the sphere in four dimensions: 4 / (3 pi)
    assert 2.5 < scores["max_sw1"] <= 3.1
    assert scores["mean_error"] == pytest.approx(30, rel=0.02)


def test_moments_and_evidence(law: GaussianMixture) -> None:
    mean, _ = law.moments()
    scores = exactness(mean + 2 * (draws(law, 3) - mean), law, -1.0, torch.tensor([-2.0, -4.0]))
    assert scores["variance_ratio"] == pytest.approx(4, rel=0.3)
    assert (scores["log_evidence_gap"], scores["sd_log_evidence"]) == pytest.approx((2, 2**0.5))
    assert "log_evidence_gap" not in exactness(draws(law, 3), law, -1.0, None)


def test_the_law_of_an_affine_chain_is_that_of_its_draws() -> None:
    law, rows = law_of("single", 2, 0, 0), list(paper_chain(karras(5, 0.1, 20.0), 5, 0.7).rows.values())
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(100_000, 2, generator=generator, dtype=torch.float64)
    for row in reversed(rows):
        z0_hat = 1 + row.a**0.5 / (row.a + 1 - row.a) * (z - row.a**0.5)  # N(1, I), seen through noise
        eps = (z - row.a**0.5 * z0_hat) / (1 - row.a) ** 0.5
        mean = row.a_prev**0.5 * z0_hat + max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 * eps
        z = mean + row.sigma * torch.randn(z.shape, generator=generator, dtype=torch.float64)
    mean, covariance = chain_law(law, rows).moments()
    assert torch.allclose(z.mean(dim=0), mean, atol=0.02)
    assert torch.allclose(z.T.cov(), covariance, atol=0.02)

"""The sigma and flow views of a prior against its law in closed form, and by Tweedie's formula with autograd."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ldsmc_bench.mixture.law import GaussianMixture, law_of
from ldsmc_bench.mixture.prior import MixturePrior, mixture
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import linear
from ldsmc_bench.sampling.views import denoise, flow_velocity, timestep

SIGMAS = [0.11, 0.5, 3.21, 77.0]  # between the levels of the schedule


def double(kind: str) -> MixturePrior:
    return mixture(kind, 4, 0, 20, 0.1, 100.0).to(torch.device("cpu"), torch.float64).conditioned([3])


def points(rows: int = 5, seed: int = 0) -> Tensor:
    return 8 * torch.randn(rows, 4, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tweedie(law: GaussianMixture, x: Tensor, sigma: float) -> Tensor:
    """x + sigma^2 times the score of the noisy law, by autograd."""
    at = x.flatten(1).clone().requires_grad_()
    normal = torch.distributions.MultivariateNormal(law.means, law.covariances + sigma**2 * torch.eye(4))
    (score,) = torch.autograd.grad(torch.logsumexp(law.log_weights + normal.log_prob(at[:, None]), 1).sum(), at)
    return (at + sigma**2 * score).detach().reshape(x.shape)


@pytest.mark.parametrize("kind", ["lattice", "scattered", "single"])
def test_the_denoiser_is_tweedies_at_levels_between_training_steps(kind: str) -> None:
    prior, law, x = double(kind), law_of(kind, 4, 0, 3), points()
    for sigma in SIGMAS:
        torch.testing.assert_close(denoise(prior, x, sigma), tweedie(law, x, sigma), atol=1e-7, rtol=1e-7)
    each = denoise(prior, x[:4], torch.tensor(SIGMAS))
    for row, sigma in enumerate(SIGMAS):
        expected = denoise(prior, x[row : row + 1], float(torch.tensor(sigma)))
        torch.testing.assert_close(each[row : row + 1], expected)


def test_the_flow_has_the_denoisers_ends() -> None:
    prior, law, x = double("scattered"), law_of("scattered", 4, 0, 3), points()
    for sigma in SIGMAS:
        t = sigma / (1 + sigma)
        z, x_0 = x / (1 + sigma), tweedie(law, x, sigma)
        v = flow_velocity(prior, z, t)
        torch.testing.assert_close(z - t * v, x_0, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(z + (1 - t) * v, (x - x_0) / sigma, atol=1e-7, rtol=1e-6)


def test_from_nothing_but_noise_the_flow_leads_to_the_prior() -> None:
    prior, law = double("single"), law_of("single", 4, 0, 3)
    x = points(4000) / 8
    steps = torch.linspace(1, 0, 201, dtype=torch.float64).tolist()
    for t, after in pairwise(steps):
        x = x + (after - t) * flow_velocity(prior, x, t)
    mean, covariance = law.moments()
    torch.testing.assert_close(x.flatten(1).mean(0), mean, atol=0.08, rtol=0)
    torch.testing.assert_close(x.flatten(1).T.cov(), covariance, atol=0.1, rtol=0)


def test_autograd_passes_and_calls_are_counted() -> None:
    prior, x = CallCounter(double("scattered")), points().requires_grad_()
    prediction = denoise(prior, x, 3.21)
    direction = points(seed=1)
    (along,) = torch.autograd.grad(prediction, x, direction)
    step = 1e-5
    ahead, behind = (denoise(prior, x.detach() + way * step * direction, 3.21) for way in (1, -1))
    # The Jacobian of E[x_0 | x] is symmetric: a backward pass along a direction is the derivative along it.
    torch.testing.assert_close(along, (ahead - behind) / (2 * step), atol=1e-6, rtol=1e-5)
    flow_velocity(prior, points(), 0.4)
    assert prior.calls == {"denoiser_forward": 4 * 5, "denoiser_backward": 5}


def test_timesteps_are_where_the_schedule_has_the_level() -> None:
    alpha_bar = linear()
    assert timestep(alpha_bar, alpha_bar[[0, 7, 500, 999]]).tolist() == [0, 7, 500, 999]
    between = 0.75 * alpha_bar[7] + 0.25 * alpha_bar[8]
    assert timestep(alpha_bar, between).item() == pytest.approx(7.25)
    assert timestep(alpha_bar, torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist() == [0, 999]


def test_without_noise_nothing_is_changed() -> None:
    torch.testing.assert_close(denoise(double("scattered"), points(), 0.0), points())

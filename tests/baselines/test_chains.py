"""Samplers that go up and down in noise, where the answer is known: one Gaussian, whose chains are affine."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from baselines import pcn
from baselines.chains import descend, flow_clean, likelihood_langevin
from baselines.pnpdm import levels
from ldsmc_bench.mixture.law import GaussianMixture
from ldsmc_bench.mixture.scores import exactness
from ldsmc_bench.noise import Noise
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.views import flow_velocity
from ldsmc_bench.toyfaces import priors
from tests.sampling.known import chain_law, draw, known

ROWS = 2000


def test_the_ancestral_chain_from_a_noisy_image_draws_the_prior_given_it() -> None:
    taken = known("single", 4, steps=200)
    prior, noise = taken.prior.to(torch.device("cpu"), torch.float64), Noise(0, ["a"], "test", rows=ROWS)
    z = torch.full((ROWS, *prior.shape), 3.0, dtype=torch.float64)
    sigmas = [2.0 * (1 - k / 500) for k in range(501)]
    x = descend(prior, z, sigmas, lambda: noise.normal("n", prior.shape).double())
    # x_0 ~ N(1, I) and z = x_0 + 2 n: mean 1 + (3 - 1) / 5, variance 4 / 5
    assert float(x.mean()) == pytest.approx(1.4, abs=0.02)
    assert float(x.var()) == pytest.approx(0.8, abs=0.03)


def test_the_embedded_pixel_prior_takes_steps_that_are_not_whole() -> None:
    prior = priors.pixel()
    z = Noise(0, ["a"], "test").normal("z", prior.shape)
    below, between, above = (prior.eps(z, torch.tensor([t])) for t in (500, 500.5, 501))
    assert torch.equal(below, prior.eps(z, torch.tensor([500.0])))
    assert float((2 * between - below - above).norm()) < 0.3 * float((above - below).norm())


def test_the_flow_of_noise_of_unit_size_is_that_of_the_velocity() -> None:
    prior = known("scattered", 0, steps=50).prior.to(torch.device("cpu"), torch.float64)
    x = torch.randn(3, *prior.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.1, 0.7):
        assert torch.allclose(flow_clean(prior, x, t, 1.0), x - t * flow_velocity(prior, x, t), atol=1e-10)


def test_langevin_tends_to_the_gaussian_given_y() -> None:
    taken = known("single", 4, steps=50)
    prior, measurement = taken.prior, taken.measurement.select(torch.zeros(ROWS, dtype=torch.long))
    noises = Noise(0, ["a"], "test", rows=ROWS).normal("n", (300, *prior.shape)).unbind(1)
    x = likelihood_langevin(prior, measurement, torch.zeros(ROWS, *prior.shape), 1.0, 0.1, noises)
    standard = GaussianMixture(torch.zeros(1).double(), torch.zeros(1, 8).double(), torch.eye(8).double()[None])
    mean, covariance = taken.posterior(standard)[0].moments()
    assert torch.allclose(x.double().flatten(1).mean(dim=0), mean, atol=0.1)
    assert torch.allclose(x.double().flatten(1).var(dim=0), covariance.diagonal(), rtol=0.15)


def test_source_space_mcmc_is_exact_for_the_push_forward_of_its_chain() -> None:
    taken = known("single", 4, steps=50, sigma_max=20.0)
    options = {"steps": 200, "chain_steps": 5, "step_size": 0.5, "acceptance": 0.3, "warm_up": 0.3, "hottest": 1e-2}
    draws = draw(taken, 400, partial(pcn.sample, **options), Trace())
    rows = [replace(row, sigma=0.0) for row in taken.rows(5)]
    posterior, log_evidence = taken.posterior(chain_law(taken.law, rows))
    assert exactness(draws, posterior, log_evidence, None)["sw1_ratio"] < 1.3


@pytest.mark.parametrize("schedule", ["geometric", "linear"])
def test_the_coupling_falls_from_its_most_to_its_least(schedule: str) -> None:
    rhos = levels(100, 10.0, 0.3, 0.333 if schedule == "geometric" else 1.0, schedule)  # type: ignore[arg-type]
    assert rhos[0] == 10 and rhos[-1] == pytest.approx(0.3) and sorted(rhos, reverse=True) == rhos
    if schedule == "geometric":  # the paper's alpha
        assert rhos[1] / rhos[0] == pytest.approx(0.9, abs=1e-3)

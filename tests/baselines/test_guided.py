"""Guided denoisers: their products with Jacobians, their solver, and their means where those are known."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from baselines import ddnm, ddrm, mmps, pigdm
from baselines.guided import gmres, predict
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.tasks import super_resolution
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace
from tests.baselines.test_conformance import SIDE, random_latent_prior, random_pixel_prior
from tests.sampling.known import known

ROW = Row(t=500, a=0.3, a_prev=0.4, sigma=0.1)


def small(noise_std: float) -> Measurement:
    x = Noise(0, ["a", "b"], "x").normal("x", (3, SIDE, SIDE)).tanh()
    operator = partial(super_resolution, scale=4)
    taken = measure(x, operator, Noise(0, ["a", "b"], "y"), noise_std=noise_std, noise_in_hole=False)
    return taken.to("cpu", torch.float64)


def test_products_with_the_jacobian_of_the_decoder_are_adjoint() -> None:
    prior, y = random_latent_prior(), small(0.1)
    z, w = torch.randn(2, 2, *prior.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at = predict(prior, y, z, ROW)
    v = torch.randn(y.y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose((at.push(w) * v).sum(), (at.pull(v) * w).sum(), rtol=1e-8)


def test_the_solver_is_exact_in_as_many_iterations_as_unknowns_though_the_matrix_is_not_symmetric() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(4).double() + 0.5 * torch.randn(3, 4, 4, dtype=torch.float64, generator=generator)
    b = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    found = gmres(lambda v: (matrix @ v[..., None])[..., 0], b, 4)
    assert torch.allclose(found, torch.linalg.solve(matrix, b), rtol=1e-6)


@pytest.mark.parametrize(
    "mean",
    [
        partial(mmps.posterior_mean, iterations=4),
        partial(pigdm.posterior_mean, prior_std=1.0, weight="tweedie"),
    ],
    ids=["mmps", "pigdm"],
)
def test_on_a_gaussian_the_mean_given_z_and_y_is_the_true_one(mean: Callable[..., Tensor]) -> None:
    problem = known("single", 4, steps=50)
    prior = problem.prior.to(torch.device("cpu"), torch.float64).conditioned([4])
    row = problem.rows(50)[30]
    z = Noise(0, ["a"], "z").normal("z", prior.shape).double()
    given_z, _ = problem.law.given(row.a**0.5 * torch.eye(8).double(), z.flatten(), (1 - row.a) ** 0.5)
    expected, _ = problem.posterior(given_z)
    found = mean(prior, problem.measurement.to("cpu", torch.float64), z, row)
    assert torch.allclose(found.flatten(), expected.means[0], atol=1e-5)


@pytest.mark.parametrize(
    "sample",
    [partial(ddnm.sample, eta="ddpm"), partial(ddnm.sample, eta=0.85), partial(ddrm.sample, eta=0.85, eta_b=1.0)],
)
def test_spectral_methods_reproduce_a_measurement_without_noise(sample: Callable[..., Tensor]) -> None:
    y = small(0.0)
    x = sample(random_pixel_prior(), y, Noise(0, ["a", "b"], "sampler"), Trace(), steps=3, cut=0.0)
    assert torch.allclose(y.operator(x), y.y, atol=1e-8)


@pytest.mark.parametrize("eta", [0.85, "ddpm"])
def test_what_is_not_measured_moves_alike_in_both_spectral_methods(eta: float | str) -> None:
    """But for their starts: DDRM's has the standard deviation of the highest level, DDNM+'s 1."""
    hidden = partial(ddnm.sample, eta=eta, cut=1.0), partial(ddrm.sample, eta=eta, eta_b=1.0, cut=1.0)
    noises = (Noise(0, ["a", "b"], "sampler") for _ in hidden)
    one, other = (
        sample(random_pixel_prior(), small(0.1), noise, Trace(), steps=3)
        for sample, noise in zip(hidden, noises, strict=True)
    )
    assert torch.allclose(one, other, atol=2e-4 * float(one.std()), rtol=0)

"""What the twists take for the uncertainty of a guess, against the covariance of z_0 given z in closed form."""

import pytest
import torch
from known import Known, known
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.running.prediction_error import CalibratedPrior
from ldsmc_bench.sampling.guidance import LookAhead, look_ahead, residual
from ldsmc_bench.sampling.twist import noise_variance, twisted

STEPS, ROWS = 20, 3


@pytest.fixture(params=["lattice", "scattered"])
def problem(request: pytest.FixtureRequest) -> Known:
    return known(request.param, 0, steps=STEPS)


def seen(problem: Known, k: int) -> tuple[LookAhead, Tensor, float]:
    """Three latents on their way at level k: the look ahead, its error with the graph, and alpha_bar."""
    row = problem.rows(STEPS)[k]
    clean = problem.law.sample(ROWS, torch.Generator().manual_seed(1)).float()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    z = row.a**0.5 * clean + (1 - row.a) ** 0.5 * noise
    ahead = look_ahead(problem.prior.conditioned([0] * ROWS), z.reshape(ROWS, -1, 1, 1), row)
    with torch.enable_grad():
        error = residual(problem.prior, problem.measurement.select(torch.zeros(ROWS, dtype=torch.long)), ahead.z0_hat)
    return ahead, error, row.a


def left_open(problem: Known, ahead: LookAhead, a: float) -> Tensor:
    """The covariance of y_0 given z without the noise, A Cov[z_0|z] A^T (R,d,d)."""
    operator = problem.measurement.operator
    assert isinstance(operator, Linear)
    matrix, dx = operator.matrices[0].double(), len(problem.law.sample(1, torch.Generator())[0])
    covariances = [
        problem.law.given(a**0.5 * torch.eye(dx).double(), z.double().flatten(), (1 - a) ** 0.5)[0].moments()[1]
        for z in ahead.z.detach()
    ]
    return matrix @ torch.stack(covariances) @ matrix.mT


@pytest.mark.parametrize("k", [2, 8, 14])
def test_psi_has_tweedies_covariance_and_ray_its_size_along_the_residual(problem: Known, k: int) -> None:
    ahead, error, a = seen(problem, k)
    truth = left_open(problem, ahead, a)
    e = error.detach().double().flatten(1)
    prior = problem.prior.conditioned([0] * ROWS)
    y_0 = problem.measurement.select(torch.zeros(ROWS, dtype=torch.long))
    noise = noise_variance(y_0)[:, None, None] * torch.eye(e.shape[1]).double()

    def log_normal(covariance: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(torch.zeros_like(e), covariance).log_prob(e)

    tmpd, _ = twisted(prior, y_0, ahead, error, a, "tmpd", None)
    torch.testing.assert_close(tmpd, log_normal(truth + noise), rtol=1e-3, atol=1e-3)
    form = prior.prediction_error_variance(y_0.operator, a).expand(ROWS, -1, -1)
    size = torch.einsum("ri,rij,rj->r", e, truth, e) / torch.einsum("ri,rij,rj->r", e, form, e)
    ray, _ = twisted(prior, y_0, ahead, error, a, "ray", None)
    torch.testing.assert_close(ray, log_normal(size[:, None, None] * form + noise), rtol=1e-3, atol=1e-3)


def test_where_one_number_was_calibrated_ray_has_another_for_each_row() -> None:
    problem = known("lattice", 0, steps=STEPS)
    ahead, error, a = seen(problem, 8)
    e = error.detach().double().flatten(1)
    y_0 = problem.measurement.select(torch.zeros(ROWS, dtype=torch.long))
    prior = CalibratedPrior(problem.prior.conditioned([0] * ROWS), ((0.1, 5.0), (0.9, 1.0)))
    unit = e / e.norm(dim=1, keepdim=True)
    variance = torch.einsum("ri,rij,rj->r", unit, left_open(problem, ahead, a), unit) + noise_variance(y_0)
    ray, _ = twisted(prior, y_0, ahead, error, a, "ray", None)
    expected = torch.distributions.Normal(0.0, variance[:, None].sqrt()).log_prob(e).sum(1)
    torch.testing.assert_close(ray, expected, rtol=1e-3, atol=1e-3)


def test_a_prior_that_was_not_calibrated_is_refused() -> None:
    from gaussian import GaussianPrior, masked

    prior, y = GaussianPrior(), masked(1)
    row = known("lattice", 0, steps=STEPS).rows(STEPS)[8]
    ahead = look_ahead(prior, torch.zeros(1, *prior.shape, dtype=torch.float64), row)
    with torch.enable_grad():
        error = residual(prior, y, ahead.z0_hat)
    with pytest.raises(UserError, match="twist=ray: this prior was not calibrated"):
        twisted(prior, y, ahead, error, row.a, "ray", None)

"""A Gaussian given a linear measurement, against dense algebra."""

from dataclasses import dataclass

import pytest
import torch
from known import Known, chain_law, known
from torch import Tensor

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Decomposable, Grey, Identity, Mask, Operator, Overexposed
from ldsmc_bench.problem.separable import SeparableBlur, SuperResolution, bicubic_taps
from ldsmc_bench.problem.spectral import Spectral
from ldsmc_bench.sampling import smc
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.conditional import posterior_draw, posterior_mean
from ldsmc_bench.sampling.guidance import log_normal, look_ahead
from ldsmc_bench.sampling.resampling import flat_indices
from ldsmc_bench.sampling.twist import gaussian

SHAPE = (3, 4, 4)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
TAPS = torch.tensor([0.2, 0.6, 0.2], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OPERATORS: dict[str, Operator] = {
    "mask": Mask((normal(1, 1, 4, 4) > 0).double()),
    "identity": Identity(),
    "grey": Grey(WEIGHTS),
    "blur": SeparableBlur(TAPS),
    "reduction": SuperResolution(bicubic_taps(2), 2),
    "matrix": Linear(normal(1, 5, 48), torch.ones(1), torch.zeros(1, dtype=torch.long), SHAPE),
    "motion": Blur(normal(1, 3, 3).abs() / 9),
}
WAYS = [(name, "gradients") for name in OPERATORS]
WAYS += [(name, "spectral") for name, operator in OPERATORS.items() if isinstance(operator, Decomposable)]


def measured(name: str, noise_std: float, rows: int = 1) -> tuple[Measurement, Tensor, Spectral | None]:
    """A measurement of any numbers, not only those that the operator can reach, with means and singular values."""
    operator = OPERATORS[name].select(torch.zeros(rows, dtype=torch.long))
    m = normal(1, *SHAPE, seed=2).expand(rows, -1, -1, -1)
    y = normal(*operator(m).shape[1:], seed=3).expand(rows, -1, -1, -1)
    factors = operator.spectral(m) if isinstance(operator, Decomposable) else None
    return Measurement(y, operator, noise_std), m, factors


def dense(name: str, noise_std: float, variance: float) -> tuple[Tensor, Tensor]:
    """Mean (48,) and covariance (48,48) by Bayes' rule for vectors."""
    one, m, _ = measured(name, noise_std)
    pulses = torch.eye(48, dtype=torch.float64).reshape(-1, 1, *SHAPE)
    a = torch.stack([one.operator(pulse).flatten() for pulse in pulses], dim=1)
    gain = variance * a.T @ torch.linalg.inv(noise_std**2 * torch.eye(len(a)).double() + variance * a @ a.T)
    mean = m.flatten() + gain @ (one.y.flatten() - a @ m.flatten())
    return mean, variance * (torch.eye(48) - gain @ a)


@pytest.mark.parametrize(("name", "solved"), WAYS)
def test_the_mean_is_bayes_rule(name: str, solved: str) -> None:
    one, m, factors = measured(name, 0.3)
    found = posterior_mean(one, m, 0.7, factors if solved == "spectral" else None)
    torch.testing.assert_close(found.flatten(), dense(name, 0.3, 0.7)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "solved"), WAYS)
def test_draws_have_the_posteriors_moments(name: str, solved: str) -> None:
    draws = 4000
    one, m, factors = measured(name, 0.3, draws)
    noise = Noise(0, ["a"], "test", rows=draws)
    factors = factors if solved == "spectral" else None
    found = posterior_draw(one, m, 0.7, lambda shape: noise.normal("x", shape), factors).flatten(1)
    mean, covariance = dense(name, 0.3, 0.7)
    torch.testing.assert_close(found.mean(0), mean, atol=4.5 * (0.7 / draws) ** 0.5, rtol=0)
    # Entries of a covariance of n draws have a standard deviation of at most sqrt(2 / n) times the variance.
    torch.testing.assert_close(found.T.cov(), covariance, atol=5 * 0.7 * (2 / draws) ** 0.5, rtol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_has_its_own_levels_and_none_may_be_zero(name: str) -> None:
    many, m, factors = measured(name, 0.3, 3)
    levels = torch.tensor([0.3, 0.05, 0.3], dtype=torch.float64).reshape(-1, 1, 1, 1)
    variances = torch.tensor([0.7, 0.7, 0.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    found = posterior_mean(Measurement(many.y, many.operator, levels), m, variances, factors, iterations=300)
    for row, expected in enumerate([dense(name, 0.3, 0.7)[0], dense(name, 0.05, 0.7)[0], m[0].flatten()]):
        torch.testing.assert_close(found[row].flatten(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "motion"])
def test_without_noise_what_is_measured_is_kept(name: str) -> None:
    one, m, factors = measured(name, 0.0)
    assert factors is not None
    y = one.operator(normal(1, *SHAPE, seed=5))
    found = posterior_draw(Measurement(y, one.operator, 0.0), m, 0.7, lambda shape: normal(1, *shape), factors)
    torch.testing.assert_close(one.operator(found), y)


def test_a_curved_operator_has_no_such_mean() -> None:
    y = normal(1, *SHAPE)
    with pytest.raises(Unsupported, match="not linear"):
        posterior_mean(Measurement(y, Overexposed(2.0), 0.1), y, 1.0)


def test_a_wide_blur_of_an_image_in_single_precision() -> None:
    """Against conjugate gradients: most of its singular values are below rounding."""
    operator = tasks.gaussian_deblur(64, Noise(0, ["a"], "test"), sigma=3.0)
    x = normal(1, 3, 64, 64).float()
    blurred = Measurement(operator(x), operator, 0.1)
    exact = posterior_mean(blurred, 0 * x, 1.0, operator.spectral(x))
    torch.testing.assert_close(exact, posterior_mean(blurred, 0 * x, 1.0), atol=1e-3, rtol=0)


@dataclass(eq=False)
class Particles:
    """Latents z_k, and log p(z_k|z_{k+1}) - log q(z_k|z_{k+1}) - log psi(z_{k+1}) of the move that led to them."""

    z: Tensor
    log_factor: Tensor | float = 0.0


class Guided:
    """DDPM's chain, moved by the exact posterior mean of z_0 given z_k and y, as a model for the SMC loop."""

    def __init__(self, problem: Known, noise: Noise, images: int, particles: int, steps: int) -> None:
        self.images, self.particles, self.moves, self.noise = images, particles, steps, noise
        self.prior = problem.prior.conditioned([problem.number] * images)
        self.rows = paper_chain(self.prior.alpha_bar, steps, eta=1.0).rows
        self.y = problem.measurement.select(torch.zeros(images * particles, dtype=torch.long))
        assert isinstance(self.y.operator, Linear)
        self.matrix, self.factors = self.y.operator.matrices, self.y.operator.spectral(self.y.y.new_empty(8, 1, 1))

    def start(self, path: smc.Path | None) -> Particles:
        return Particles(self.normal())

    def move(self, k: int, before: Particles, ancestors: Tensor) -> Particles:
        row, z = self.rows[k + 1], before.z[flat_indices(ancestors)]
        ahead, r2 = look_ahead(self.prior, z, row, gradient=False), 1 - row.a  # of a prior of unit variance
        log_psi = self.log_normal_y(ahead.z0_hat, r2)
        if row.sigma == 0:
            return Particles(ahead.mean, -log_psi)
        mean = row.mean(z, posterior_mean(self.y, ahead.z0_hat, r2, self.factors))
        now = mean + row.sigma * self.normal()
        return Particles(now, log_normal(now, ahead.mean, row.sigma) - log_normal(now, mean, row.sigma) - log_psi)

    def log_weight(self, k: int, now: Particles) -> Tensor:
        ahead = now.z if k == 0 else look_ahead(self.prior, now.z, self.rows[k], gradient=False).z0_hat
        log_psi = self.log_normal_y(ahead, 0.0 if k == 0 else 1 - self.rows[k].a)
        return (log_psi + now.log_factor).reshape(self.images, self.particles)

    def log_normal_y(self, z_0: Tensor, r2: float) -> Tensor:
        """log N(y; A z_0, noise_std^2 + r^2 A A^T)."""
        explained = float(self.y.noise_std[0]) ** 2 * torch.eye(4) + r2 * self.matrix[0] @ self.matrix[0].T  # type: ignore[index]
        exponent, log_scale, _ = gaussian(self.y.y - self.y.operator(z_0), explained[None].double())
        return exponent + log_scale

    def normal(self) -> Tensor:
        return self.noise.normal("z", (self.particles, 8, 1, 1)).flatten(0, 1)


def test_posterior_means_are_proposals_of_the_one_smc_loop() -> None:
    """The prior is one Gaussian, whose chain has a law in closed form: so have its posterior and its evidence."""
    problem, images = known("single", 3, steps=6, sigma_max=10.0), 1000
    noise = Noise(0, ["a"], "test", rows=images)
    model = Guided(problem, noise, images, particles=50, steps=6)
    z, (log_evidence,) = smc.sample(model, noise, lambda step: None, scheme="systematic", resample_below=0.5)
    posterior, expected = problem.posterior(chain_law(problem.law, problem.rows(6)))
    ratio = (log_evidence - expected).exp()  # unbiased for any number of particles
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / images**0.5
    assert ratio.std() < 0.6
    mean, covariance = posterior.moments()
    draws = z.double().flatten(1)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.12, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.15, rtol=0)

"""DDSMC (Ekström Kelvinius, Zhao and Lindsten, ICML 2025): decoupled diffusion sequential Monte Carlo, linear A.

A move passes through x_0: a Gaussian surrogate N(x_hat, rho^2) of x_0 given x_{t+1} is conditioned on y, and noise is
added again. With eta = 1 that is DDPM; with eta = 0 x_t depends on x_{t+1} through x_hat alone (decoupled).
References: arXiv 2502.06379; code: filipekstrm/ddsmc.
"""

from itertools import pairwise

import torch
from torch import Tensor

from baselines.guided_model import At, Scheme, restore
from baselines.spectral import Diagonal, SpectralModel, log_normal
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.trace import Trace

LEAST = 1e-2  # of the prior's variance: where the proposal's would be less, or negative


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    eta: Fraction,
    rho_max: Positive | None,
    rho_min: Positive,
    ode_steps: Count,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    rho falls from `rho_max` to `rho_min`, evenly in the seventh root; rho^2 = (1 - abar) / 2 if `rho_max` is None.
    x_hat is the end of `ode_steps` steps of DDIM without noise: 1 is Tweedie's mean. Raises Unsupported for latents
    and for operators without singular values at hand.
    """
    model = Decoupled(prior, measurement, noise, particles, steps, "ddsmc")
    model.eta, model.rho_max, model.rho_min, model.ode_steps = eta, rho_max, rho_min, ode_steps
    return restore(model, trace, resample=resample, resample_below=resample_below)


class Decoupled(SpectralModel[Diagonal]):
    """Coefficients z = sqrt(abar) x of the paper's x, s^2 = (1 - abar) / abar."""

    eta: float
    rho_max: float | None
    rho_min: float
    ode_steps: int

    def look(self, k: int, now: At[Diagonal]) -> Diagonal:
        row, s2_y = self.rows[k], self.noise_variance
        x, x_hat = self.factors.vt(now.z) / row.a**0.5, self.factors.vt(self.predict(k, now.z))
        # psi = N(y'; S x_hat, s_y^2 + rho^2 S^2)
        rho2 = self.rho(k) ** 2
        of_y = s2_y + rho2 * self.s.square()
        log_psi = log_normal(self.y, self.s * x_hat, of_y, among=self.measured)
        # a = D / (eta s_t^2 + D),  D = s_{t+1}^2 - s_t^2;  p = N(a x_hat + (1 - a) x, a s_t^2)
        a, s2 = self.decoupling(row), (1 - row.a_prev) / row.a_prev
        to_z = row.a_prev**0.5
        mu = to_z * (a * x_hat + (1 - a) * x)
        # M^-1 = s_y^2 rho^2 / (S^2 rho^2 + s_y^2),  M^-1 b = (rho^2 S y' + s_y^2 x_hat) / (S^2 rho^2 + s_y^2)
        inverse = s2_y * rho2 / of_y
        guided = torch.where(self.measured, (rho2 * self.s * self.y + s2_y * x_hat) / of_y, x_hat)
        # q = N(a M^-1 b + (1 - a) x, a s_t^2 - a^2 rho^2 + a^2 M^-1), of a variance that is kept positive
        variance = (a * s2 + a**2 * (inverse - rho2)).clamp(min=LEAST * a * s2).expand_as(x)
        return Diagonal(mu, to_z * (a * guided + (1 - a) * x), log_psi, row.a_prev * variance)

    def deviation(self, k: int) -> float:
        row = self.rows[k + 1]
        return (self.decoupling(row) * (1 - row.a_prev)) ** 0.5

    def decoupling(self, row: Row) -> float:
        s2, apart = (1 - row.a_prev) / row.a_prev, (1 - row.a) / row.a - (1 - row.a_prev) / row.a_prev
        return apart / (self.eta * s2 + apart)

    def rho(self, k: int) -> float:
        if self.rho_max is None:
            return ((1 - self.rows[k].a) / 2) ** 0.5
        low, high = self.rho_min ** (1 / 7), self.rho_max ** (1 / 7)
        return (low + (high - low) * (k - 1) / max(1, self.moves - 1)) ** 7

    def predict(self, k: int, z: Tensor) -> Tensor:
        """x_hat, over levels that are even in the chain's steps."""
        stops = sorted({round(k * step / self.ode_steps) for step in range(self.ode_steps + 1)}, reverse=True)
        for here, there in pairwise(stops):
            row = self.rows[here]
            below = self.rows[there].a if there > 0 else 1.0
            z = look_ahead(self.prior, z, Row(row.t, row.a, below, 0.0), gradient=False).mean
        return z

"""MCGDiff (Cardoso, Janati, Le Corff and Moulines, ICLR 2024): Monte Carlo guided diffusion, linear A.

Coefficient i of x is as noisy as y says of it at the level tau_i of the chain: (1 - abar_tau) / abar_tau = s_y^2/s_i^2.
From there upwards a Gaussian about sqrt(abar_t) y'_i / s_i is its potential, and particles move by the prior times the
potentials ahead, normalised. Below its tau a coefficient moves freely. The last weights put p(y|x_0) in the place of
the potentials.
References: arXiv 2308.07983; code: gabrielvc/mcg_diff.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.guided_model import At, Scheme, restore
from baselines.spectral import Diagonal, SpectralModel, log_normal
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    kappa: Positive,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `kappa` is the variance of a potential at its tau. Raises Unsupported for latents and for operators without
    singular values at hand.
    """
    model = Guided(prior, measurement, noise, particles, steps, "mcgdiff")
    model.kappa = kappa
    return restore(model, trace, resample=resample, resample_below=resample_below)


@dataclass(frozen=True)
class Potentials(Diagonal):
    """A view with the logarithm of the potentials that were left behind."""

    left: Tensor  # (R,)


class Guided(SpectralModel[Potentials]):
    """psi_t is the mean of the potentials of t - 1 under the prior's move: what the proposal is normalised by."""

    kappa: float

    def look(self, k: int, now: At[Potentials]) -> Potentials:
        row, x = self.rows[k], self.factors.vt(now.z)
        mu = self.factors.vt(look_ahead(self.prior, now.z, row, gradient=False).mean)
        (active, target, v), (ahead, target_ahead, v_ahead) = self.potentials(row.a), self.potentials(row.a_prev)
        # coefficients whose tau lies between t and t - 1 keep their potential
        left = log_normal(x, target, v, among=active & ~ahead)
        if now.past is not None:
            left = left + now.past.left
        # log psi = sum_{active(t-1)} log N(mu_i; target_i, sd^2 + v_i), and the potentials left behind
        sd2 = row.sigma**2
        log_psi = left + log_normal(mu, target_ahead, sd2 + v_ahead, among=ahead)
        # x_i = K target_i + (1 - K) mu_i + sqrt(K v_i) xi,  K = sd^2 / (sd^2 + v_i)
        gain = torch.where(ahead, sd2 / (sd2 + v_ahead), 0.0)
        variance = torch.where(ahead, gain * v_ahead, sd2)
        return Potentials(mu, gain * target_ahead + (1 - gain) * mu, log_psi, variance.expand_as(mu), left)

    def potentials(self, a: float) -> tuple[Tensor, Tensor, Tensor]:
        """The coefficients with an active potential at abar `a`, its mean sqrt(abar) y'_i / s_i and its variance
        v_i = 1 - (1 - kappa) abar / abar_tau_i."""
        s2 = self.s.square()
        active = self.measured & (a * (s2 + self.noise_variance) <= s2)
        safe = torch.where(active, self.s, 1.0)
        v = torch.where(active, 1 - (1 - self.kappa) * a * (1 + self.noise_variance / safe.square()), 1.0)
        return active.expand_as(self.y), a**0.5 * self.y / safe, v.expand_as(self.y)

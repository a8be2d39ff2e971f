"""AFDPS (Chen et al., 2025): an ensemble of particles with weights, in a diffusion tilted by the likelihood, linear A.

At noise s the law is Q_s ~ p_s(x) exp(-mu(x)), mu(x) = |A x - y|^2 / (2 s_y^2), of the noisy x itself. The paper moves
and weighs in continuous time; the likelihood is stiff, and is taken implicitly here. At large s the integral of the
weights varies by (s A / s_y)^2, so ours tempers mu, with s_y^2 + s^2 |A|^2 for its variance, and weighs a step by the
ratio of its densities, of which the paper's integral is the limit for many steps.
References: arXiv 2506.03979v2, Eq. 3.6 and Algorithm 2, derived anew from the Fokker-Planck equation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from baselines.guided_model import At, Scheme, restore
from baselines.spectral import Diagonal, SpectralModel
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.smc import Path
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
    tilt: Literal["tempered", "paper"],
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `tilt`: "paper" is its mu with its integral, "tempered" ours. Raises Unsupported for latents and for operators
    without singular values at hand: for them the Laplacian of mu has no closed form.
    """
    model = Tilted(prior, measurement, noise, particles, steps, "afdps")
    model.integrate = tilt == "paper"
    return restore(model, trace, resample=resample, resample_below=resample_below)


@dataclass(frozen=True)
class Integrand(Diagonal):
    """A view with the change of log w in the step that it leads to, by the integral."""

    change: Tensor  # (R,)


class Tilted(SpectralModel[Integrand]):
    """Coefficients z = sqrt(abar) x of the paper's x, s^2 = (1 - abar) / abar."""

    integrate: bool

    def start(self, path: Path | None) -> At[Integrand]:
        # x_T ~ N(0, s_max^2 I) exp(-mu), normalised
        return self.start_given(*self.tilt(self.rows[self.moves].a))

    def tilt(self, a: float) -> tuple[Tensor, Tensor]:
        """exp(-mu) as a normal density of S z, at abar `a`: its mean and variance."""
        norm2 = 0.0 if self.integrate else self.s.square().amax(dim=(1, 2, 3), keepdim=True)
        return a**0.5 * self.y, a * self.noise_variance + (1 - a) * norm2

    def look(self, k: int, now: At[Integrand]) -> Integrand:
        row, z = self.rows[k], self.factors.vt(now.z)
        ahead = look_ahead(self.prior, now.z, row, gradient=False)
        mu = self.factors.vt(ahead.mean)
        # the prior's step times exp(-mu) at its end: an implicit step of dx = (c - V^2 grad mu) d(-s) + V dW
        mean, variance, log_psi = self.given(mu, row.sigma**2, *self.tilt(row.a_prev))
        # d log w = (V^2 / 2 (|grad mu|^2 - lap mu) - c . grad mu) d(-s),  c = 2 (D - x) / s,  V^2 = 2 s
        x, s2 = z / row.a**0.5, (1 - row.a) / row.a
        elapsed = s2 - (1 - row.a_prev) / row.a_prev  # of s^2
        gradient = self.s * (self.s * x - self.y) / self.noise_variance
        gradient, laplacian = torch.where(self.measured, gradient, 0.0), self.s.square() / self.noise_variance
        drift = (self.factors.vt(ahead.z0_hat) - x) / s2
        change = elapsed * (0.5 * (gradient.square() - laplacian) - drift * gradient).double().flatten(1).sum(dim=1)
        return Integrand(mu, mean, torch.zeros_like(change) if self.integrate else log_psi, variance, change)

    def draw(self, k: int, view: Integrand) -> tuple[Tensor, Tensor]:
        z, log_ratio = super().draw(k, view)
        return z, view.change if self.integrate else log_ratio

    def log_likelihood(self, now: At[Integrand]) -> Tensor:
        log_likelihood = super().log_likelihood(now)
        return torch.zeros_like(log_likelihood) if self.integrate else log_likelihood

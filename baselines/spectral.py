"""The singular basis of a linear operator: what y holds there, entry by entry, and weighted guidance, all of whose
Gaussians are diagonal in it."""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from baselines.guided import require_pixels
from baselines.guided_model import At, GuidedModel, View
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import spectral
from ldsmc_bench.problem.spectral import Spectral
from ldsmc_bench.sampling.twist import noise_variance


@dataclass(frozen=True)
class Diagonal(View):
    """A view whose means are coefficients V^T x, with the variance (R,C,h,w) of the proposal's entries."""

    variance: Tensor


S = TypeVar("S", bound=Diagonal)


class SpectralModel(GuidedModel[S]):
    """A base for models whose moves are N(mean, variance) in coefficients, and the prior's N(mu, sigma^2 I).

    Raises Unsupported, in the name of `method`, for latents and for operators without singular values at hand.
    """

    def __init__(
        self, prior: Prior, measurement: Measurement, noise: Noise, particles: int, steps: int, method: str
    ) -> None:
        super().__init__(prior, measurement, noise, particles, steps)
        like = torch.zeros(1, *prior.shape, dtype=measurement.y.dtype, device=measurement.y.device)
        require_pixels(prior, like, method)
        self.factors = spectral(self.y_0.operator, like, method=method)
        self.s, self.y, self.measured = self.factors.s, self.factors.ut(self.y_0.y), self.factors.s > 0
        self.noise_variance = noise_variance(self.y_0).to(like).reshape(-1, 1, 1, 1)

    def deviation(self, k: int) -> float:
        """The standard deviation of the prior's move to z_k."""
        return self.rows[k + 1].sigma

    def draw(self, k: int, view: S) -> tuple[Tensor, Tensor]:
        sigma = self.deviation(k)
        if sigma == 0:
            return self.factors.v(view.mu), torch.zeros_like(view.log_psi)
        x = view.mean + view.variance.sqrt() * self.normal()
        log_p = log_normal(x, view.mu, torch.full_like(x, sigma**2))
        return self.factors.v(x), log_p - log_normal(x, view.mean, view.variance)

    def start_given(self, y: Tensor, of_y: Tensor) -> At[S]:
        """z_K ~ N(0, I) N(y; S x, of_y I), normalised, for coefficients y."""
        zero = torch.zeros_like(self.y)
        mean, variance, _ = self.given(zero, 1.0, y, of_y)
        x = mean + variance.sqrt() * self.normal()
        return At(self.factors.v(x), None, log_normal(x, zero, torch.ones_like(x)) - log_normal(x, mean, variance))

    def given(self, mu: Tensor, variance: float, y: Tensor, of_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N(mu, variance I) N(y; S x, of_y I), normalised: its mean and variance, and the logarithm (R,) of the norm.
        `y` are coefficients."""
        total = variance * self.s.square() + of_y
        mean = torch.where(self.measured, mu + variance * self.s / total * (y - self.s * mu), mu)
        return mean, (variance * of_y / total).expand_as(mu), log_normal(y, self.s * mu, total, among=self.measured)


def measured_entries(
    prior: Prior, measurement: Measurement, like: Tensor, cut: float, method: str
) -> tuple[Spectral, Tensor, Tensor, Tensor]:
    """The singular basis of the operator, its entries with singular values above `cut`, and in them A^+ y and the
    standard deviation of its noise; `like` is an image.

    Raises Unsupported, in the name of `method`, for latents and for operators without singular values at hand.
    """
    require_pixels(prior, like, method)
    basis = spectral(measurement.operator, like, method=method)
    seen = basis.s > cut
    s = torch.where(seen, basis.s, 1.0)
    return basis, seen, basis.ut(measurement.y) / s, measurement.noise_std / s


def log_normal(x: Tensor, mean: Tensor, variance: Tensor, among: Tensor | None = None) -> Tensor:
    """log N(x; mean, diag(variance)) (R,), float64, of all entries or of those `among` which it is asked."""
    variance = variance.double()
    each = -0.5 * ((x - mean).double().square() / variance + torch.log(2 * math.pi * variance))
    return (each if among is None else torch.where(among, each, 0.0)).flatten(1).sum(dim=1)

"""FPS-SMC (Dou and Song, ICLR 2024): filtering posterior sampling, linear A.

Labels y_t are drawn backwards from y, as noisy as x_t, and particles move by p(x_{t-1}|x_t) p(y_{t-1}|x_{t-1}),
normalised. The paper's target holds every label as an observation of its own, which is another law than that given y.
Ours integrates the noise of the labels out, and its weights divide by the guess of a step at the next.
References: Dou and Song 2024, "Diffusion posterior sampling for linear inverse problem solving: a filtering
perspective"; code: ZehaoDou-official/FPS-SMC-2023.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from baselines.guided_model import At, Scheme, restore
from baselines.spectral import Diagonal, SpectralModel, log_normal
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
    labels: Literal["integrated", "drawn"],
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `labels`: "drawn" is the paper's, "integrated" ours. Raises Unsupported for latents and for operators without
    singular values at hand.
    """
    model = Filter(prior, measurement, noise, particles, steps, "fps")
    model.drawn = labels == "drawn"
    return restore(model, trace, resample=resample, resample_below=resample_below)


class Filter(SpectralModel[Diagonal]):
    """psi_t is the mean of p(y_{t-1}|x_{t-1}) under the prior's move: what the proposal is normalised by."""

    drawn: bool

    def start(self, path: Path | None) -> At[Diagonal]:
        if self.drawn:
            self.labels = dict(self.draw_labels())
        # x_T ~ N(0, I) p(y_T|x_T), normalised
        return self.start_given(*self.label(self.moves))

    def draw_labels(self) -> Iterator[tuple[int, Tensor]]:
        """y_t in coefficients, the same for all particles of an image."""
        # y_T = sqrt(abar_T) y + sqrt(1 - abar_T) A eps;  y_{t-1} given y_t and y as x_{t-1} given x_t and x_0
        a, sigma = self.rows[self.moves].a, (1 - self.rows[self.moves].a) ** 0.5
        label = a**0.5 * self.y
        for k in reversed(range(self.moves + 1)):
            eps = self.noise.normal("labels", self.prior.shape).to(self.y)
            yield k, (label := label + sigma * self.s * eps.repeat_interleave(self.particles, dim=0))
            if k > 0:
                label, sigma = self.rows[k].mean(label, self.y), self.rows[k].sigma

    def label(self, k: int) -> tuple[Tensor, Tensor]:
        """y_t and the variance of p(y_t|x_t): abar s_y^2, and where it is integrated out that of its noise, A A^T."""
        a = self.rows[k + 1].a_prev if k < self.moves else self.rows[k].a
        if self.drawn:
            return self.labels[k], a * self.noise_variance
        return a**0.5 * self.y, a * self.noise_variance + (1 - a) * self.s.square()

    def look(self, k: int, now: At[Diagonal]) -> Diagonal:
        # q = p(x_{t-1}|x_t) p(y_{t-1}|x_{t-1}) / psi
        mu = self.factors.vt(look_ahead(self.prior, now.z, self.rows[k], gradient=False).mean)
        mean, variance, log_psi = self.given(mu, self.rows[k].sigma ** 2, *self.label(k - 1))
        return Diagonal(mu, mean, log_psi, variance)

    def log_weight(self, k: int, now: At[Diagonal]) -> Tensor | None:
        log_factor = super().log_weight(k, now)
        if log_factor is None or k == 0 or not self.drawn:
            return log_factor
        # the paper's target holds p(y_t|x_t) too
        label, of_y = self.label(k)
        log_label = log_normal(label, self.s * self.factors.vt(now.z), of_y, among=self.measured)
        return log_factor + log_label.reshape(log_factor.shape)

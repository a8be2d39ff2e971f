"""FK steering (Singhal et al., ICML 2025): the prior's own moves, resampled by potentials of the predicted image.

No gradient and no proposal: the operator is only evaluated. The reward is the log-likelihood of the prediction, and the
last weight divides by the product of the potentials before, so that the drawn x_0 is of the posterior as N grows.
References: arXiv 2501.06848; code: zacharyhorvitz/Fk-Diffusion-Steering.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from baselines.guided_model import At, GuidedModel, Scheme, View, restore
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.guidance import look_ahead, residual
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import Twist, twisted

Potential = Literal["difference", "max", "sum"]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    potential: Potential,
    strength: Positive,
    twist: Twist,
    every: Fraction,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `strength` is the paper's lambda, `twist` the variance of the reward (`twisted`), and particles are weighed after
    each share `every` of the steps (0: after each step).
    """
    model = Steering(prior, measurement, noise, particles, steps)
    model.potential, model.strength, model.twist = potential, strength, twist
    model.period = max(1, round(every * steps))
    return restore(model, trace, resample=resample, resample_below=resample_below)


@dataclass(frozen=True)
class Steered(View):
    """A view whose log psi_k is the logarithm of the product of all potentials so far."""

    reward: Tensor  # r_k (R,): the last, the largest, or the sum of those so far


class Steering(GuidedModel[Steered]):
    """The bootstrap filter with the potentials G_k = exp(lambda r_k) of the paper."""

    potential: Potential
    strength: float
    twist: Twist
    period: int

    def look(self, k: int, now: At[Steered]) -> Steered:
        row, past = self.rows[k], now.past
        if past is None and not self.weighs(k):  # no potential yet
            none = torch.zeros(len(now.z), dtype=torch.float64, device=now.z.device)
            past = Steered(now.z, now.z, none, none - torch.inf if self.potential == "max" else none)
        ahead = look_ahead(self.prior, now.z, row, gradient=self.twist in ("tmpd", "ray"))
        if past is not None and not self.weighs(k):
            return Steered(ahead.mean, ahead.mean, past.log_psi, past.reward)
        # r_k = log N(y; A x_hat, s_y^2 + r^2)
        error = residual(self.prior, self.y_0, ahead.z0_hat)
        reward, _ = twisted(self.prior, self.y_0, ahead, error, row.a, self.twist, floor=None)
        reward = self.strength * reward
        # log G_k = r_k - r_{k+1}, max_{s >= k} r_s, or sum_{s >= k} r_s
        if past is None or self.potential == "difference":
            return Steered(ahead.mean, ahead.mean, reward, reward)
        reward = torch.maximum(past.reward, reward) if self.potential == "max" else past.reward + reward
        return Steered(ahead.mean, ahead.mean, past.log_psi + reward, reward)

    def log_weight(self, k: int, now: At[Steered]) -> Tensor | None:
        # G_0 = p(y|x_0) / prod_{k > 0} G_k
        log_factor = super().log_weight(k, now)
        return log_factor if self.weighs(k) else None

    def weighs(self, k: int) -> bool:
        passed = self.moves - k
        return k == 0 or (passed % self.period == 0 and (passed > 0 or self.period == 1))

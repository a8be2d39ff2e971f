"""DAS (Kim, Kim and Park, ICLR 2025): diffusion alignment as sampling, the twisted sampler with a tempered reward.

The reward is the log-likelihood of the prediction itself, without a variance for its error: in early steps, where that
error is large, a temperature lambda_k takes its place, which rises to 1.
References: arXiv 2501.05803, Eq. 14 for the weights; code: krafton-ai/DAS.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.guided_model import At, GuidedModel, Scheme, View, restore
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, NonNegative
from ldsmc_bench.sampling.guidance import look_ahead, residual
from ldsmc_bench.sampling.resampling import normalize
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import Twist, twisted

HALVINGS = 20  # of the interval in which a temperature is sought


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    gamma: NonNegative,
    adapt: Fraction,
    twist: Twist,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `gamma` is the rate at which lambda rises in a chain of 100 steps. With `adapt` above 0 lambda is instead the
    largest at which the ESS of a step's own weights is that share of N. `twist`: the reward's variance (`twisted`).
    """
    model = Tempered(prior, measurement, noise, particles, steps)
    model.gamma, model.adapt, model.twist = gamma, adapt, twist
    return restore(model, trace, resample=resample, resample_below=resample_below)


@dataclass(frozen=True)
class TemperedView(View):
    """A view whose log psi_k is lambda_k times the reward."""

    temperature: Tensor  # lambda_k (R,)


class Tempered(GuidedModel[TemperedView]):
    """psi_k = exp(lambda_k r(x_hat)), whose gradient guides a move in proportion to its variance."""

    gamma: float
    adapt: float
    twist: Twist

    def look(self, k: int, now: At[TemperedView]) -> TemperedView:
        # r = log p(y|x_hat)
        row = self.rows[k]
        ahead = look_ahead(self.prior, now.z, row)
        error = residual(self.prior, self.y_0, ahead.z0_hat)
        reward, weighted = twisted(self.prior, self.y_0, ahead, error, row.a, self.twist, floor=None)
        temperature = self.solve(now, reward) if self.adapt > 0 else torch.full_like(reward, self.schedule(k))
        if row.sigma == 0:
            return TemperedView(ahead.mean, ahead.mean, temperature * reward, temperature)
        # m_{k-1} = mu + sigma^2 lambda_{k-1} grad r(x_hat), with the last known lambda where it is sought
        guiding = temperature if self.adapt > 0 else torch.full_like(reward, self.schedule(k - 1))
        (gradient,) = torch.autograd.grad(error, ahead.z, -weighted * guiding.to(weighted).reshape(-1, 1, 1, 1))
        return TemperedView(ahead.mean, ahead.mean + row.sigma**2 * gradient, temperature * reward, temperature)

    def schedule(self, k: int) -> float:
        """lambda_k = min(1, (1 + gamma)^i - 1), i the steps done, in hundredths of the chain."""
        return min(1.0, (1 + self.gamma) ** (100 * (self.moves - k) / self.moves) - 1)

    def solve(self, now: At[TemperedView], reward: Tensor) -> Tensor:
        """lambda_k (R,), at least the one before, by halving the interval up to 1."""
        rest, low = now.log_ratio, torch.zeros(self.images, 1, dtype=reward.dtype, device=reward.device)
        if now.past is not None:
            rest = now.log_ratio - now.past.log_psi
            low = now.past.temperature.reshape(self.images, -1)[:, :1]
        high, middle = torch.ones_like(low), torch.ones_like(low)
        for _ in range(HALVINGS):
            log_weights = rest.reshape(self.images, -1) + middle * reward.reshape(self.images, -1)
            enough = normalize(log_weights).ess[:, None] >= self.adapt * self.particles
            low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
            middle = (low + high) / 2
        return low.expand(-1, self.particles).flatten()

"""TDS (Wu et al., NeurIPS 2023): the twisted diffusion sampler as published, in pixels or in a latent space.

With s^2 = (1 - a) / a and x = z / sqrt(a), each particle moves by the prior's step towards the twisted prediction
x_hat + s^2 grad_x log p~(y|x), and the weights correct for it: those of `GuidedModel`. The last move is untwisted and
has no noise, and the last weights hold p(y|x_0) itself.
References: arXiv 2306.17775; code: blt2114/twisted_diffusion_sampler `831c8e6`, `image_exp`.
"""

import torch
from torch import Tensor

from baselines.guided_model import At, GuidedModel, Scheme, View, restore
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.guidance import look_ahead, residual
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import Twist, twisted


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    twist: Twist,
    clip: bool,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `twist` names the variance of p~(y|x) (`twisted`); `clip` keeps the twisted prediction in [-1,1], the range of
    pixels. Raises UserError for `clip` with a latent prior.
    """
    if clip and tuple(prior.shape) != image_shape(prior):
        raise UserError("method.sample.clip=true: only pixels lie in [-1,1], and this prior's latents do not")
    model = TwistedDiffusion(prior, measurement, noise, particles, steps)
    model.twist, model.clip = twist, clip
    return restore(model, trace, resample=resample, resample_below=resample_below)


class TwistedDiffusion(GuidedModel[View]):
    """A particle's move is guided by the gradient of its own twist."""

    twist: Twist
    clip: bool

    def look(self, k: int, now: At[View]) -> View:
        # x_hat = D(x, s), r = y - A x_hat
        row = self.rows[k]
        ahead = look_ahead(self.prior, now.z, row)
        error = residual(self.prior, self.y_0, ahead.z0_hat)
        # log p~(y|x) = log N(r; 0, s_y^2 + r_k^2)
        log_psi, weighted = twisted(self.prior, self.y_0, ahead, error, row.a, self.twist, floor=None)
        if row.sigma == 0:
            return View(ahead.mean, ahead.mean, log_psi)
        # x~ = x_hat + s^2 grad_x log p~(y|x), of which the density of the proposal holds the clipped one
        (gradient,) = torch.autograd.grad(error, ahead.z, -weighted)
        z0 = ahead.z0_hat.detach() + (1 - row.a) / row.a**0.5 * gradient
        return View(ahead.mean, row.mean(now.z, z0.clamp(-1, 1) if self.clip else z0), log_psi)

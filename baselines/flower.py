"""Flower (Pourya et al. 2025, arXiv 2509.26287): a flow-matching solver for linear inverse problems.

The flow's prediction is refined by the measurement, under the Gaussian that it would have of standard normal data, and
put back on the path with fresh noise.

References: Pourya, El Rawas and Unser 2025, Algorithm 1.
"""

import torch
from torch import Tensor

from baselines.chains import factors_of, flow_clean
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Positive
from ldsmc_bench.sampling.conditional import posterior_draw, posterior_mean
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    prior_std: Positive,
    draws: bool,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `prior_std` is the standard deviation of images, which the noise of the flow has too. With `draws` the refinement is
    a draw from its Gaussian, not the mean. Raises Unsupported for latents and measurements that are not linear.
    """

    def draw() -> Tensor:
        return prior_std * noise.normal("proposal", prior.shape).to(measurement.y)

    x = draw()
    factors = factors_of(prior, measurement, x, "flower")
    for k in reversed(range(steps)):
        t, after = 1 - (k + 1) / steps, 1 - k / steps  # of the paper: 0 is noise, 1 is data
        # x^1 = x + (1 - t) v: the flow's clean end
        x1_hat = flow_clean(prior, x, 1 - t, prior_std)
        # x* = argmin |H x - y|^2 / s_n^2 + |x - x^1|^2 / s_r^2,  s_r = (1 - t) / sqrt(t^2 + (1 - t)^2)
        variance = (prior_std * (1 - t)) ** 2 / (t**2 + (1 - t) ** 2)
        if draws:
            refined = posterior_draw(
                measurement, x1_hat, variance, lambda shape: noise.normal("refinement", shape), factors
            )
        else:
            refined = posterior_mean(measurement, x1_hat, variance, factors)
        # x <- (t + d) x* + (1 - t - d) xi
        x = after * refined + (1 - after) * draw()
        trace(k, z=x, z0=refined)
    return prior.decode(x)

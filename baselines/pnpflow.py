"""PnP-Flow (Martin et al., ICLR 2025, arXiv 2410.02423): plug-and-play restoration with a flow.

A gradient step on the misfit, then an average of denoised images, each from another interpolation with noise. It ends
at a mean of images rather than at a draw, to be compared with the mean of others' draws.

References: Martin et al. 2025, Algorithm 3; public code annegnx/PnP-Flow, `scripts/`.
"""

import torch
from torch import Tensor

from baselines.chains import flow_clean
from baselines.guided import in_pixels
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, NonNegative, Positive
from ldsmc_bench.sampling.guidance import misfit_gradient
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    samples: Count,
    alpha: NonNegative,
    step_size: Positive,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    Each of `steps` times takes a gradient step, `step_size` (1 for an operator of norm 1) times (1 - t)^alpha long, and
    `samples` calls of the denoiser. `prior_std` is the size of noise: the standard deviation of images (latents: 1).
    """
    x = noise.normal("init", prior.shape).to(measurement.y)
    std = prior_std if in_pixels(prior, x) else 1.0
    x = torch.zeros_like(x)
    for k in reversed(range(steps)):
        t = 1 - (k + 1) / steps  # of the paper: 0 is noise, 1 is data
        # z = x - (1 - t)^alpha grad ||A(D(x)) - y||^2 / 2
        gradient, _ = misfit_gradient(prior, measurement, x)
        z = x - 0.5 * step_size * (1 - t) ** alpha * gradient
        # x = mean of D_t(t z + (1 - t) xi)
        xi = std * noise.normal("proposal", (samples, *prior.shape)).to(x)
        mixed = (t * z[:, None] + (1 - t) * xi).flatten(0, 1)
        x = flow_clean(prior, mixed, 1 - t, std).reshape(len(x), samples, *x.shape[1:]).mean(dim=1)
        trace(k, z=z, x=x)
    return prior.decode(x)

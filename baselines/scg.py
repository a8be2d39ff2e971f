"""SCG (Huang et al., ICML 2024, arXiv 2402.14285): stochastic control guidance.

At each step the prior's own move is drawn several times, and the draw whose prediction fits best goes on. No gradient
of operator, decoder or denoiser is taken, so any operator will do, a black box too.

References: Huang, Ghatare, Liu et al. 2024, "Symbolic music generation with non-differentiable rule guided diffusion";
public code yjhuangcd/rule-guided-music.
"""

import torch
from torch import Tensor

from baselines.levels import ddim_rows
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.guidance import look_ahead, residual, squared
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    eta: Fraction,
    candidates: Count,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's, `candidates` the number n of draws of each move, each of which costs a call of the denoiser.
    """
    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    repeated, images = measurement.repeat(candidates), len(measurement.y)
    ahead = look_ahead(prior, noise.normal("init", prior.shape).to(measurement.y), rows[-1], gradient=False)
    for k in reversed(range(1, steps)):
        # x_{t-1}^i ~ p(x_{t-1} | x_t), i = 1..n
        n = noise.normal("proposal", (candidates, *prior.shape)).to(ahead.z)
        z = (ahead.mean[:, None] + ahead.sigma * n).flatten(0, 1)
        # the i of the least ||y - A(x0_hat(x_{t-1}^i))||
        looked = look_ahead(prior, z, rows[k - 1], gradient=False)
        best = squared(residual(prior, repeated, looked.z0_hat)).reshape(images, candidates).argmin(dim=1)
        best = best + candidates * torch.arange(images, device=z.device)
        ahead = type(looked)(z[best], looked.z0_hat[best], looked.mean[best], looked.sigma)
        trace(k, z=ahead.z, z0=ahead.z0_hat)
    trace(0, z=ahead.mean, z0=ahead.z0_hat)
    return prior.decode(ahead.mean)

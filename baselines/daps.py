"""DAPS (Zhang et al., CVPR 2025, arXiv 2407.01521) in pixels: decoupled annealing posterior sampling.

At falling noise levels: a few ODE steps predict x_0, a draw of x_0 given the prediction and y follows, and fresh noise
of the next level is added. `latent_daps` is its twin in latents, in the public code's many variants.

References: Zhang et al. 2025, Algorithm 1; public code zhangbingliang2019/DAPS `configs/`.
"""

from typing import Literal

import torch
from torch import Tensor

from baselines.chains import descend, factors_of, likelihood_langevin
from baselines.latent_daps import noise_grid, paper_levels
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, Positive
from ldsmc_bench.sampling.conditional import posterior_draw
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    sigma_max: Positive,
    sigma_min: Positive,
    ode_steps: Count,
    ode_end: Positive,
    move: Literal["langevin", "gaussian"],
    mcmc_steps: Natural,
    step_size: Positive,
    step_decay: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` are the noise levels, from `sigma_max` to `sigma_min`; each takes `ode_steps` calls of the denoiser, down to
    `ode_end`. `move`: "langevin" takes `mcmc_steps` steps of `step_size` (`likelihood_langevin`), which falls to the
    share `step_decay`; "gaussian" draws from the Gaussian itself. Raises Unsupported for "gaussian" on latents and on
    measurements that are not linear.
    """

    def draw(name: str, *times: int) -> Tensor:
        return noise.normal(name, (*times, *prior.shape)).to(measurement.y)

    # x_T ~ N(0, sigma_max^2 I)
    x = sigma_max * draw("init")
    factors = factors_of(prior, measurement, x, "daps") if move == "gaussian" else None
    levels = paper_levels(steps, sigma_max, sigma_min, step_decay)
    for k, level in enumerate(levels):
        # x_0 predicted: the probability-flow ODE from sigma_k towards 0, by Euler
        x0_hat = descend(prior, x, noise_grid(level.sigma, ode_end, ode_steps) if level.sigma > ode_end else [])
        # x_0 ~ p(x_0 | x_k, y), where p(x_0 | x_k) is N(x0_hat, sigma_k^2 I)
        if move == "gaussian":
            x0 = posterior_draw(
                measurement, x0_hat, level.sigma**2, lambda shape: noise.normal("gaussian", shape), factors
            )
        else:
            h, noises = step_size * level.decay, draw("mcmc", mcmc_steps).unbind(1)
            x0 = likelihood_langevin(prior, measurement, x0_hat, level.sigma, h, noises)
        # x_{k+1} ~ N(x_0, sigma_{k+1}^2 I)
        x = x0 + level.after * draw("level")
        trace(steps - 1 - k, z_0=x0, z0_hat=x0_hat)
    return prior.decode(x)

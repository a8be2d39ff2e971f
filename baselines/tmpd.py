"""TMPD (Boys et al., TMLR 2024, arXiv 2310.06721): Tweedie moment projected diffusions.

z_0 given z is taken to be Gaussian with the moments of Tweedie's formulas. Of the covariance that y then has, only a
diagonal is kept, its row sums: one backward pass finds them, another guides.

References: Boys et al. 2023, and the diagonal approximation of its experiments on images; library azula,
`guidance/tmpd.py`.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from baselines.guided import Run, predict, run_path
from baselines.levels import ddim_rows
from baselines.weighted import with_weights
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace

Negative = Literal["keep", "zero", "size"]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    run: Run = run_path,
    *,
    steps: Count,
    eta: Fraction,
    negative: Negative,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's. `negative`: row sums below zero, which are no variances, are left as they are ("keep"), or count as
    zero or by their size.
    """
    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    return run(prior, measurement, noise, trace, rows, partial(posterior_mean, negative=negative))


weighted = with_weights(sample)


def posterior_mean(prior: Prior, measurement: Measurement, z: Tensor, row: Row, negative: Negative) -> Tensor:
    """E[z_0 | z, y] of latents z (R,C,h,w), rows of which belong to those of `measurement`."""
    # m_0|t = E[x_0 | x_t],  C_0|t = (1 - a) / sqrt(a) dm_0|t/dx_t
    at = predict(prior, measurement, z, row)
    # diag(H C_0|t H^T) ~ H C_0|t H^T 1
    sums = at.push(at.pull_through(torch.ones_like(measurement.y)))
    variance = measurement.noise_std**2 + {"keep": sums, "zero": sums.clamp(min=0), "size": sums.abs()}[negative]
    # E[x_0 | x_t, y] = m_0|t + C_0|t H^T (H C_0|t H^T + sigma_y^2)^-1 (y - H m_0|t)
    return at.z0_hat.detach() + at.pull_through(at.error.detach() / variance)

"""DiffPIR (Zhu et al., CVPR workshops 2023, arXiv 2305.08995): plug-and-play restoration with a diffusion prior.

Half-quadratic splitting: the denoiser's prediction is moved to a proximal point of the measurement's misfit, by
matrices alone in pixels, and a share of the predicted noise is drawn afresh. The denoiser is never differentiated.

References: Zhu et al. 2023; public code yuanzhi-zhu/DiffPIR `1112e2f`, main_ddpir.py and configs/.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from baselines.guided import Run, gmres, in_pixels, predict, run_path
from baselines.levels import ddim_rows
from baselines.weighted import with_weights
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    run: Run = run_path,
    *,
    steps: Count,
    lam: Positive,
    zeta: Fraction | Literal["ddpm"],
    iterations: Count,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `lam` is the paper's lambda, `zeta` the share of fresh noise in the variance of a move ("ddpm": DDPM's, which leaves
    the prior in place where nothing is measured), `iterations` those of the solver where the proximal point has no
    closed form, each a backward pass and a call of the decoder.
    """

    operator = measurement.operator
    closed = operator.linear and isinstance(operator, Invertible)
    closed = closed and in_pixels(prior, measurement.y.new_zeros(1, *prior.shape))
    # x_{t-1} = sqrt(a') x0_hat + sqrt(1 - a') (sqrt(1 - zeta) eps_hat + sqrt(zeta) eps)
    rows = ddim_rows("paper", prior.alpha_bar, steps, 1.0)
    if zeta != "ddpm":
        rows = [replace(row, sigma=(zeta * (1 - row.a_prev)) ** 0.5) for row in rows]
    guide = partial(proximal_point, lam=lam, iterations=None if closed else iterations)
    return run(prior, measurement, noise, trace, rows, guide)


weighted = with_weights(sample)


def proximal_point(
    prior: Prior, measurement: Measurement, z: Tensor, row: Row, lam: float, iterations: int | None
) -> Tensor:
    """argmin over z_0 of ||y - h(z_0)||^2 / sigma_n^2 + lam / sigma_t^2 ||z_0 - z0_hat(z)||^2, h to first order.

    By the operator's own inverse where `iterations` is None, which takes pixels and a linear operator.
    """
    # x_0 = the denoiser's prediction
    at = predict(prior, measurement, z, row, through=False)
    s2, variance = measurement.noise_std**2, (1 - row.a) / row.a / lam
    if iterations is None:
        assert isinstance(measurement.operator, Invertible)
        # x0_hat = x_0 + (H^T H + rho_t)^-1 H^T (y - H x_0),  rho_t = lam sigma_n^2 / sigma_t^2
        return at.z0_hat.detach() + measurement.operator.pinv(at.error.detach(), s2 / variance)
    v = gmres(lambda v: s2 * v + variance * at.push(at.pull(v)), at.error.detach(), iterations)
    return at.z0_hat.detach() + variance * at.pull(v)

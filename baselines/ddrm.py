"""DDRM (Kawar et al., NeurIPS 2022, arXiv 2201.11793): denoising diffusion restoration models.

A chain in the singular basis of A, where each entry of y is an entry of x at a noise level of its own: an entry follows
y while the chain is noisier than that, and leans on it below. For linear operators with known singular values, in
pixels. The denoiser is never differentiated.

References: Kawar, Elad, Ermon and Song 2022; public code bahjat-kawar/ddrm, `functions/denoising.py`, main.py.
"""

from typing import Literal

import torch
from torch import Tensor

from baselines.levels import ddim_rows
from baselines.spectral import measured_entries
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    eta: Fraction | Literal["ddpm"],
    eta_b: Fraction,
    cut: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` and `eta_b` are the paper's ("ddpm": at each step the share of fresh noise that DDPM has, which leaves the
    prior in place where nothing is measured); singular values below `cut` count as zero. Raises Unsupported for
    latents, and for an operator without known singular values.
    """

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    n = draw()
    # y_bar = Sigma^+ U^T y,  of noise sigma_y / s_i; x in the variance-exploding scale, x_bar = V^T x / sqrt(a)
    basis, seen, y, std = measured_entries(prior, measurement, n, cut, "ddrm")
    rows = ddim_rows("paper", prior.alpha_bar, steps, 0.0)
    sigma = level(rows[-1].a)
    # x_bar_T ~ N(y_bar, sigma_T^2 - sigma_y^2 / s_i^2), or N(0, sigma_T^2) where y holds nothing
    n, known = basis.vt(n), seen & (std <= sigma)
    x = torch.where(known, y + (sigma**2 - std**2).clamp(min=0).sqrt() * n, sigma * n)
    for k, row in reversed(list(enumerate(rows))):
        x_theta = basis.vt(look_ahead(prior, basis.v(row.a**0.5 * x), row, gradient=False).z0_hat)
        before, sigma = sigma, level(row.a_prev)
        fresh = (1 - (sigma / before) ** 2) ** 0.5 if eta == "ddpm" else eta
        rest = (1 - fresh**2) ** 0.5 * sigma
        # of what y does not hold, of what it holds with more noise than sigma_t, and of the others
        free = x_theta + rest * (x - x_theta) / before + fresh * sigma * (n := basis.vt(draw()))
        below = x_theta + rest * (y - x_theta) / torch.where(std > 0, std, 1.0) + fresh * sigma * n
        above = (1 - eta_b) * x_theta + eta_b * y + (sigma**2 - (eta_b * std) ** 2).clamp(min=0).sqrt() * n
        x = torch.where(seen, torch.where(std > sigma, below, above), free)
        trace(k, z=x, z0=x_theta)
    return basis.v(x)


def level(a: float) -> float:
    """sigma of x / sqrt(a)."""
    return ((1 - a) / a) ** 0.5

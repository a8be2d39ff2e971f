"""DDNM+ (Wang et al., ICLR 2023, arXiv 2212.00490): null-space denoising for noisy measurements.

In the singular basis of A, what y holds replaces what the denoiser predicts, as far as the noise of y fits into the
noise of the move, whose own part is lessened by that; what y does not hold is left to the prior. For linear operators
with known singular values, in pixels.

References: Wang, Yu and Zhang 2023; public code wyhuai/DDNM, `functions/svd_ddnm.py`, which names Eq. 17 for x0_hat and
Eq. 51 for the move.
"""

from typing import Literal

import torch
from torch import Tensor

from baselines.guided import weight_of_z0
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
    cut: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is the share of fresh noise in a move, whose other noise is as predicted ("ddpm": DDPM's move, with x0_hat in
    the place of x_0); singular values below `cut` count as zero. Raises Unsupported for latents, and for an operator
    without known singular values.
    """

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    x = draw()
    # A^+ y, and the standard deviation of its noise, entry by entry
    basis, seen, y, std = measured_entries(prior, measurement, x, cut, "ddnm")
    rows = ddim_rows("paper", prior.alpha_bar, steps, 1.0)
    for k, row in reversed(list(enumerate(rows))):
        x, x0 = basis.vt(x), basis.vt(look_ahead(prior, x, row, gradient=False).z0_hat)
        if eta == "ddpm":
            a_t, sigma_t, most = weight_of_z0(row), row.sigma, row.sigma
            rest, free = (max(0.0, 1 - row.a_prev - row.sigma**2) / (1 - row.a)) ** 0.5 * x, row.sigma
        else:
            a_t, sigma_t = row.a_prev**0.5, (1 - row.a_prev) ** 0.5
            most, free = (1 - eta**2) ** 0.5 * sigma_t, eta * sigma_t
            rest = torch.where(seen, 0.0, most * (x - row.a**0.5 * x0) / (1 - row.a) ** 0.5)
        # lambda_i = 1 where a_t sigma_y / s_i <= sigma_t, else sqrt(1 - eta^2) sigma_t s_i / (a_t sigma_y);
        # 0 in the null space
        inside = a_t * std
        lam = torch.where(inside <= sigma_t, 1.0, most / torch.where(inside > 0, inside, 1.0))
        lam = torch.where(seen, lam, 0.0)
        # x0_hat = x_0 - Sigma (x_0 - A^+ y),  Phi_i = sigma_t^2 - (a_t lambda_i sigma_y / s_i)^2
        x0_hat = x0 + lam * (y - x0)
        phi = torch.where(seen, sigma_t**2 - (lam * inside).square(), free**2).clamp(min=0)
        x = basis.v(a_t * x0_hat + rest + phi.sqrt() * basis.vt(draw()))
        trace(k, z=x, z0=x0_hat)
    return x

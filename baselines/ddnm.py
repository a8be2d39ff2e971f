"""DDNM+ (Wang et al., ICLR 2023, arXiv 2212.00490): null-space denoising for noisy measurements.

In the singular basis of A, what y holds replaces what the denoiser predicts, as far as the noise of y fits into the
noise of the move, whose own part is lessened by that; what y does not hold is left to the prior. For linear operators
with known singular values, in pixels.

References: Wang, Yu and Zhang 2023; public code wyhuai/DDNM, `functions/svd_ddnm.py`, which names Eq. 17 for x0_hat and
Eq. 51 for the move. Here the moves are DDIM's with x0_hat in both places; the code keeps the noise as predicted.
"""

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
    eta: Fraction,
    cut: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's; singular values below `cut` count as zero. Raises Unsupported for latents, and for an operator
    without known singular values.
    """

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    x = draw()
    # A^+ y, and the standard deviation of its noise, entry by entry
    basis, seen, y, std = measured_entries(prior, measurement, x, cut, "ddnm")
    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    for k, row in reversed(list(enumerate(rows))):
        x0 = basis.vt(look_ahead(prior, x, row, gradient=False).z0_hat)
        kept = (max(0.0, 1 - row.a_prev - row.sigma**2) / (1 - row.a)) ** 0.5
        a_t = row.a_prev**0.5 - kept * row.a**0.5  # what x_0 weighs in the move
        # lambda_i = 1 where a_t sigma_y / s_i <= sigma_t, else sigma_t s_i / (a_t sigma_y);  0 in the null space
        inside = a_t * std
        lam = torch.where(seen, (row.sigma / torch.where(inside > 0, inside, 1.0)).clamp(max=1.0), 0.0)
        lam = torch.where(seen & (inside <= row.sigma), 1.0, lam)
        # x0_hat = x_0 - Sigma (x_0 - A^+ y),  Phi_i = sigma_t^2 - (a_t lambda_i sigma_y / s_i)^2
        x0_hat = x0 + lam * (y - x0)
        phi = (row.sigma**2 - (lam * inside).square()).clamp(min=0)
        x = basis.v(a_t * x0_hat + kept * basis.vt(x) + phi.sqrt() * basis.vt(draw()))
        trace(k, z=x, z0=x0_hat)
    return x

"""PiGDM (Song et al., ICLR 2023): pseudo-inverse guided diffusion.

z_0 given z is taken to lie about the prediction with one variance r^2 in all directions, in pixels. The score of
p(y | z) then holds a regularised pseudo-inverse, and a backward pass through the denoiser (and the decoder).

References: Song, Vahdat, Mardani and Kautz 2023, "Pseudoinverse-guided diffusion models for inverse problems",
OpenReview 9_gsMA8MRKQ; public code NVlabs/RED-diff `cdf18c9`, `algos/pgdm.py`.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from baselines.guided import Run, run_path, weight_of_z0
from baselines.levels import ddim_rows
from baselines.weighted import with_weights
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.trace import Trace

Weight = Literal["tweedie", "adaptive"]


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
    prior_std: Positive,
    weight: Weight,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's, `prior_std` the standard deviation of images in r^2, `weight` that of the score (`posterior_mean`).
    Raises Unsupported for an operator without a pseudo-inverse.
    """
    if not isinstance(measurement.operator, Invertible):
        raise Unsupported("pigdm: needs a pseudo-inverse, and this task's operator has none")
    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    return run(prior, measurement, noise, trace, rows, partial(posterior_mean, prior_std=prior_std, weight=weight))


weighted = with_weights(sample)


def posterior_mean(
    prior: Prior, measurement: Measurement, z: Tensor, row: Row, prior_std: float, weight: Weight
) -> Tensor:
    """E[z_0 | z, y] of latents z (R,C,h,w), rows of which belong to those of `measurement`.

    "tweedie": the score moves z_0 as Tweedie's formula says, and with it the noise that the move keeps. "adaptive":
    the paper's; r^2 takes the place of sigma_t^2, and the noise is kept as predicted without y.
    """
    operator = measurement.operator
    assert isinstance(operator, Invertible)
    ahead = look_ahead(prior, z, row)
    with torch.enable_grad():
        x = prior.decode(ahead.z0_hat)
    # r_t^2 = sigma_t^2 / (1 + sigma_t^2) for unit variance, which latents have: of that share, images' own variance
    sigma2, c = (1 - row.a) / row.a, prior_std**2
    r2 = c * sigma2 / (sigma2 + (c if x is ahead.z0_hat else 1.0))
    # r_t^2 H^T (r_t^2 H H^T + sigma_y^2)^-1 (y - H x)
    back = operator.pinv(measurement.y - operator(x.detach()), measurement.noise_std**2 / r2)
    # r_t^2 times the score of p(y | z): its product with dx / dz
    (score,) = torch.autograd.grad(x, ahead.z, back)
    if weight == "tweedie":
        return ahead.z0_hat.detach() + (1 - row.a) / row.a**0.5 / r2 * score
    # z_s = DDIM(z) + sqrt(a_s a) r_t^2 score: divided by what z_0 weighs in the move, that is a shift of z_0
    return ahead.z0_hat.detach() + row.a_prev**0.5 / weight_of_z0(row) * row.a**0.5 * score

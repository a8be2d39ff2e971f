"""MMPS (Rozet et al., NeurIPS 2024, arXiv 2405.13712): moment matching posterior sampling.

z_0 given z is taken to be Gaussian with the moments of Tweedie's formulas, its covariance never formed: an iterative
solver has products with it, each a backward pass through the denoiser. Where the measurement is not linear in z_0, it
is linearised about the prediction, so latents, HDR and phase retrieval are possible.

References: Rozet et al. 2024, "Learning diffusion priors from observations by expectation maximization"; the author's
library azula, `guidance/mmps.py`.
"""

from functools import partial

import torch
from torch import Tensor

from baselines.guided import Run, gmres, predict, run_path
from baselines.levels import ddim_rows
from baselines.weighted import with_weights
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction
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
    eta: Fraction,
    iterations: Count,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's; `iterations` are of the solver, each a backward pass and a call of the decoder.
    """
    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    return run(prior, measurement, noise, trace, rows, partial(posterior_mean, iterations=iterations))


weighted = with_weights(sample)


def posterior_mean(prior: Prior, measurement: Measurement, z: Tensor, row: Row, iterations: int) -> Tensor:
    """E[z_0 | z, y] of latents z (R,C,h,w), rows of which belong to those of `measurement`."""
    # x0_hat = E[x | x_t],  V[x | x_t] = sigma_t^2 dx0_hat/dx_t
    at = predict(prior, measurement, z, row)
    # (Sigma_y + A V A^T) v = y - A x0_hat
    v = gmres(lambda v: measurement.noise_std**2 * v + at.push(at.pull_through(v)), at.error.detach(), iterations)
    # E[x | x_t, y] = x0_hat + V A^T v
    return at.z0_hat.detach() + at.pull_through(v)

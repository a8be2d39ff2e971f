"""LGD-MC (Song et al., ICML 2023): loss-guided diffusion.

Guidance by the likelihood averaged over draws around the prediction, where DPS takes the prediction alone.

References: Song, Zhang, Yin et al. 2023, "Loss-guided diffusion models for plug-and-play controllable generation",
PMLR 202: r_t = sigma_t / sqrt(1 + sigma_t^2).
"""

import torch
from torch import Tensor

from baselines.guided import Run, in_pixels, run_path, weight_of_z0
from baselines.levels import ddim_rows
from baselines.weighted import with_weights
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, NonNegative, Positive
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import TINY, look_ahead, residual, squared
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
    samples: Count,
    zeta: NonNegative,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `eta` is DDIM's, `samples` the number n of draws around a prediction, `zeta` the step size as in DPS. `prior_std` is
    the standard deviation of images in r_t; latents have 1.
    """
    images = len(measurement.y)
    c = prior_std**2 if in_pixels(prior, measurement.y.new_zeros(1, *prior.shape)) else 1.0

    def mean(prior: Prior, measurement: Measurement, z: Tensor, row: Row) -> Tensor:
        ahead = look_ahead(prior, z, row)
        r = ((1 - row.a) / row.a * c / ((1 - row.a) / row.a + c)) ** 0.5
        n = noise.normal("draws", (len(z) // images * samples, *prior.shape)).to(z).reshape(-1, samples, *z.shape[1:])
        with torch.enable_grad():
            # x_0^i ~ N(x0_hat, r_t^2),  l_i = ||y - A(x_0^i)||^2
            x0 = (ahead.z0_hat[:, None] + r * n).flatten(0, 1)
            loss = squared(residual(prior, measurement.repeat(samples), x0)).reshape(len(z), samples)
            # log (1/n) sum_i exp(-l_i / 2 v), with the mean misfit of an entry for v: sigma_y alone picks one draw
            v = loss.detach().mean(dim=1, keepdim=True).clamp(min=TINY) / measurement.y[0].numel()
            log_likelihood = torch.logsumexp(-0.5 * loss / v, dim=1)
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), ahead.z)
        # the gradient of a norm, as DPS has it: v times that of log p, over the norm
        norm = loss.detach().mean(dim=1).sqrt().clamp(min=TINY)
        shift = 2 * (v[:, 0] / norm).reshape(-1, 1, 1, 1) * gradient
        return ahead.z0_hat.detach() + zeta / weight_of_z0(row) * shift

    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    return run(prior, measurement, noise, trace, rows, mean)


weighted = with_weights(sample)

"""LGD-MC (Song et al., ICML 2023): loss-guided diffusion.

Guidance by the likelihood averaged over draws around the prediction, where DPS takes the prediction alone.

References: Song, Zhang, Yin et al. 2023, "Loss-guided diffusion models for plug-and-play controllable generation",
PMLR 202: r_t = sigma_t / sqrt(1 + sigma_t^2).
"""

import torch
from torch import Tensor

from baselines.guided import in_pixels, run_chain
from baselines.levels import ddim_rows
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
    c = prior_std**2 if in_pixels(prior, measurement.y.new_zeros(1, *prior.shape)) else 1.0
    repeated = measurement.repeat(samples)

    def mean(z: Tensor, row: Row) -> Tensor:
        ahead = look_ahead(prior, z, row)
        r = ((1 - row.a) / row.a * c / ((1 - row.a) / row.a + c)) ** 0.5
        n = noise.normal("draws", (samples, *prior.shape)).to(z)
        with torch.enable_grad():
            # x_0^i ~ N(x0_hat, r_t^2),  l_i = ||y - A(x_0^i)||^2
            x0 = (ahead.z0_hat[:, None] + r * n).flatten(0, 1)
            loss = squared(residual(prior, repeated, x0)).reshape(len(z), samples)
            # log (1/n) sum_i exp(-l_i / 2 v), with the mean misfit of an entry for v: sigma_y alone picks one draw
            v = loss.detach().mean(dim=1, keepdim=True).clamp(min=TINY) / measurement.y[0].numel()
            log_likelihood = torch.logsumexp(-0.5 * loss / v, dim=1)
            (gradient,) = torch.autograd.grad(log_likelihood.sum(), ahead.z)
        # the gradient of a norm, as DPS has it: v times that of log p, over the norm
        norm = loss.detach().mean(dim=1).sqrt().clamp(min=TINY)
        shift = 2 * (v[:, 0] / norm).reshape(-1, 1, 1, 1) * gradient
        kept = (max(0.0, 1 - row.a_prev - row.sigma**2) / (1 - row.a)) ** 0.5
        return ahead.z0_hat.detach() + zeta / (row.a_prev**0.5 - kept * row.a**0.5) * shift

    rows = ddim_rows("paper", prior.alpha_bar, steps, eta)
    return prior.decode(run_chain(prior, noise, trace, rows, measurement.y, mean))

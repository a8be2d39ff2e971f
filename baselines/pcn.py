"""Preconditioned Crank-Nicolson in the source space of a deterministic sampler: exact MCMC.

G, the chain of DDIM with eta = 0, takes a standard normal z to an image. A proposal that keeps N(0, I) in place is
accepted by the likelihoods of G(z) alone. The chain's law is the posterior under the prior G(z), z ~ N(0, I): for any
measurement, in pixels and latents, without a gradient, but in the long run only.

References: Cotter et al., Statistical Science 2013 (pCN); arXiv 2410.02078, 2506.01320 and 2602.21469 (in the source
space of diffusion models); Andrieu & Thoms, Statistics and Computing 2008 (steps adapted to a rate of acceptance).
"""

import torch
from torch import Tensor

from baselines.levels import ddim_rows
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.guidance import look_ahead, residual, squared
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import noise_variance


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    chain_steps: Count,
    step_size: Fraction,
    acceptance: Fraction,
    warm_up: Fraction,
    hottest: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` are iterations of MCMC, each `chain_steps` calls of the denoiser. In the share `warm_up` of them the
    likelihood is tempered, from the power `hottest` to 1, and the step b, at first `step_size`, is adapted to the rate
    `acceptance`; afterwards the chain is exact. An image has one chain, whose last state is the draw.
    """
    rows = list(reversed(ddim_rows("paper", prior.alpha_bar, chain_steps, 0.0)))
    variance = noise_variance(measurement)

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    def generate(z: Tensor) -> tuple[Tensor, Tensor]:
        """G(z), and log p(y | G(z)) (B,)."""
        for row in rows:
            z = look_ahead(prior, z, row, gradient=False).mean
        return z, -0.5 * squared(residual(prior, measurement, z).double()) / variance

    z = draw()
    x, log_lik = generate(z)
    log_b = torch.full_like(log_lik, step_size).log()
    warm = round(warm_up * steps)
    for k in range(steps):
        power = hottest ** (1 - (k + 1) / warm) if k < warm else 1.0
        # z' = sqrt(1 - b^2) z + b xi
        b = log_b.exp().to(z).reshape(-1, 1, 1, 1)
        proposed = (1 - b**2).sqrt() * z + b * draw()
        x_proposed, log_lik_proposed = generate(proposed)
        # accept with min(1, p(y | G(z')) / p(y | G(z)))
        ratio = (power * (log_lik_proposed - log_lik)).clamp(max=0.0).exp()
        accepted = noise.uniform("accept", ()).to(ratio) < ratio
        here = accepted.reshape(-1, 1, 1, 1)
        z, x = torch.where(here, proposed, z), torch.where(here, x_proposed, x)
        log_lik = torch.where(accepted, log_lik_proposed, log_lik)
        if k < warm:
            log_b = (log_b + (k + 1) ** -0.5 * (ratio.nan_to_num() - acceptance)).clamp(max=0.0)
        trace(steps - 1 - k, z=z, accepted=accepted)
    return prior.decode(x)

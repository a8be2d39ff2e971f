"""PnP-DM (Wu et al., NeurIPS 2024) and DPnP (Xu and Chi, NeurIPS 2024): split Gibbs sampling with a diffusion prior.

A draw of the likelihood about the image and a draw of the prior about that alternate, coupled at a noise level that
falls. As the level goes to 0 the stationary law becomes the posterior, but the chain mixes ever more slowly.

References: arXiv 2405.18782, Algorithm 1, App. on annealing; public code zihuiwu/PnP-DM-public `83074f3`. arXiv
2403.17042, Algorithm 1 (DPnP): the same alternation with another schedule of levels.
"""

from typing import Literal

import torch
from torch import Tensor

from baselines.chains import descend, down_to_clean, factors_of, likelihood_langevin
from baselines.guided import in_pixels
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, Positive
from ldsmc_bench.sampling.conditional import posterior_draw
from ldsmc_bench.sampling.trace import Trace

Schedule = Literal["geometric", "linear"]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    rho_max: Positive,
    rho_min: Positive,
    prior_std: Positive,
    cooled: Fraction,
    schedule: Schedule,
    chain_steps: Count,
    mcmc_steps: Natural,
    step_size: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` are iterations; rho falls from `rho_max` to `rho_min`, in units of `prior_std`, the standard deviation of
    images (latents have 1), as `levels` says. The prior's draw takes `chain_steps` calls of the denoiser. The
    likelihood's draw is exact for linear measurements in pixels, elsewhere it is `mcmc_steps` of Langevin dynamics
    (`likelihood_langevin`).
    """

    def draw(name: str, *times: int) -> Tensor:
        return noise.normal(name, (*times, *prior.shape)).to(measurement.y)

    x = torch.zeros_like(draw("init"))  # so much noise follows that it does not matter
    pixels = in_pixels(prior, x)
    exact = pixels and measurement.operator.linear
    factors = factors_of(prior, measurement, x, "pnpdm") if exact else None
    rhos = levels(steps, rho_max, rho_min, cooled, schedule)
    for k, unit in enumerate(rhos):
        rho = unit * (prior_std if pixels else 1.0)
        # z ~ N(x, rho_k^2 I) p(y | z)
        if exact:
            z = posterior_draw(measurement, x, rho**2, lambda shape: noise.normal("likelihood", shape), factors)
        else:
            noises = draw("mcmc", mcmc_steps).unbind(1)
            z = likelihood_langevin(prior, measurement, x, rho, step_size, noises)
        # x ~ p(x | z): the reverse process from sigma = rho_k
        x = descend(prior, z, down_to_clean(prior, rho, chain_steps), lambda: draw("prior"))
        trace(steps - 1 - k, z=z, x=x)
    return prior.decode(x)


def levels(steps: int, rho_max: float, rho_min: float, cooled: float, schedule: Schedule) -> list[float]:
    """rho of each iteration. "geometric", PnP-DM's: max(rho_min, rho_max alpha^k), alpha such that `rho_min` is reached
    after the share `cooled` of the run. "linear", DPnP's: `rho_max` for the first fifth, then evenly to `rho_min`."""
    if schedule == "geometric":
        alpha = (rho_min / rho_max) ** (1 / max(1e-9, cooled * steps))
        return [max(rho_min, rho_max * alpha**k) for k in range(steps)]
    first = steps // 5
    fall = max(1, cooled * (steps - 1 - first))
    return [max(rho_min, rho_max + (rho_min - rho_max) * max(0, k - first) / fall) for k in range(steps)]

"""Guidance with its weights on: other methods' guided denoisers as the proposals of the one SMC loop.

A guidance whose moves are Gaussian has a density, so importance weights can repair what it gets wrong: N particles move
as the method's one path does on DDPM's chain, and are weighed by `GuidedDenoiser`. Weights off is the method itself.
References: those of the methods; for the weights Wu et al., NeurIPS 2023, arXiv 2306.17775.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from baselines import diffpir, mmps, pigdm, tmpd
from baselines.guided_model import GuidedDenoiser, PlainTwist, Scheme, restore
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling.arguments import Count, Fraction, NonNegative, Positive
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import guided_denoiser, look_ahead, norm_gradient, residual, squared
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    guidance: Literal["dps", "pigdm", "tmpd", "mmps", "diffpir"],
    zeta: NonNegative,
    prior_std: Positive,
    weight: pigdm.Weight,
    iterations: Count,
    lam: Positive,
    twist: PlainTwist,
    resample: Scheme,
    resample_below: Fraction,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `zeta` is read by dps, `prior_std` and `weight` by pigdm, `iterations` by mmps and diffpir, `lam` by diffpir.
    `twist`: the variance in log psi (`twisted`). Raises Unsupported where pigdm has no pseudo-inverse.
    """
    if guidance == "pigdm" and not isinstance(measurement.operator, Invertible):
        raise Unsupported("weighted: pigdm needs a pseudo-inverse, and this task's operator has none")
    model = GuidedDenoiser(prior, measurement, noise, particles, steps)
    model.twist = twist
    model.guide = {
        "dps": partial(dps_mean, zeta=zeta),
        "pigdm": partial(pigdm.posterior_mean, prior_std=prior_std, weight=weight),
        "tmpd": partial(tmpd.posterior_mean, negative="size"),
        "mmps": partial(mmps.posterior_mean, iterations=iterations),
        "diffpir": partial(diffpir.proximal_point, lam=lam, iterations=iterations),
    }[guidance]
    return restore(model, trace, resample=resample, resample_below=resample_below)


def dps_mean(prior: Prior, measurement: Measurement, z: Tensor, row: Row, zeta: float) -> Tensor:
    """DPS's shift of a move, zeta grad ||r||^2 / ||r||, as a shift of the prediction z_0 (R,C,h,w)."""
    ahead = look_ahead(prior, z, row)
    guided = guided_denoiser(ahead.z, ahead.z0_hat, lambda z0_hat: [squared(residual(prior, measurement, z0_hat))])
    shift = zeta * 2 * norm_gradient(guided.gradient, guided.distances[0])
    kept = (max(0.0, 1 - row.a_prev - row.sigma**2) / (1 - row.a)) ** 0.5
    return guided.z0_hat - shift / (row.a_prev**0.5 - kept * row.a**0.5)

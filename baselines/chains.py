"""Shared parts of samplers that go up and down in noise: chains between noise levels, the flow between data and noise,
and exact draws of images given a linear measurement.

References: Karras et al., NeurIPS 2022, arXiv 2206.00364 (noise levels); Song et al., ICLR 2021, arXiv 2010.02502.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from baselines.guided import require_pixels
from baselines.latent_daps import langevin, noise_grid
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Decomposable, spectral
from ldsmc_bench.problem.spectral import Spectral
from ldsmc_bench.sampling.guidance import misfit_gradient
from ldsmc_bench.sampling.twist import noise_variance
from ldsmc_bench.sampling.views import denoise, predict


def descend(prior: Prior, x: Tensor, sigmas: Sequence[float], draw: Callable[[], Tensor] | None = None) -> Tensor:
    """x at the last of falling noise levels, from x = x_0 + sigmas[0] n (R,C,h,w): by DDIM without noise, or, with
    standard normals `draw`, by the ancestral chain (eta = 1). A call of the denoiser for each move."""
    for s, below in pairwise(sigmas):
        kept = below / s if draw is None else (below / s) ** 2
        x_0 = denoise(prior, x, s)
        x = x_0 + kept * (x - x_0)
        if draw is not None and below > 0:
            x = x + below * (1 - kept) ** 0.5 * draw()
    return x


def down_to_clean(prior: Prior, sigma: float, moves: int) -> list[float]:
    """Levels of `moves` moves from `sigma` to 0, the last but one being the lowest of the schedule, if below it."""
    least = float(((1 - prior.alpha_bar[0]) / prior.alpha_bar[0]) ** 0.5)
    if moves == 1 or sigma <= least:
        return [sigma, 0.0]
    return [*noise_grid(sigma, least, moves - 1), 0.0]


def flow_clean(prior: Prior, x: Tensor, t: float, std: float) -> Tensor:
    """E[x_0 | x] for x = (1 - t) x_0 + t std n (R,C,h,w), 0 < t <= 1: between data and noise of one size. At t = 1
    the level is the schedule's last."""
    square = (1 - t) ** 2 + (t * std) ** 2
    return predict(prior, x / square**0.5, torch.tensor((1 - t) ** 2 / square, dtype=torch.float64))


def factors_of(prior: Prior, measurement: Measurement, like: Tensor, method: str) -> Spectral | None:
    """The singular values of the operator, None where conjugate gradients have to do without; `like` is an image.

    Raises Unsupported, in the name of `method`, where the measurement is not linear in the prior's own variable.
    """
    require_pixels(prior, like, method)
    if not measurement.operator.linear:
        raise Unsupported(f"{method}: needs a linear measurement, and this task's is not")
    if not isinstance(measurement.operator, Decomposable):
        return None
    return spectral(measurement.operator, like, method=method)


def likelihood_langevin(
    prior: Prior, measurement: Measurement, m: Tensor, r: float, step: float, noises: Iterable[Tensor]
) -> Tensor:
    """Steps of Langevin dynamics from `m` (B,C,h,w) towards p(y | x) N(x; m, r^2 I), one for each of `noises`: the
    denoiser is no part of it, and the measurement may be any. `step` is in units of the variance along an entry that
    is measured directly, 1 / (1 / r^2 + 1 / noise_std^2): 1 is the longest that converges there, 2 diverges."""
    variance = noise_variance(measurement).to(m).reshape(-1, 1, 1, 1)

    def score(x: Tensor) -> Tensor:
        return (m - x) / r**2 - 0.5 * misfit_gradient(prior, measurement, x)[0] / variance

    return langevin(m, torch.zeros_like(m), score, step / (1 / r**2 + 1 / variance), 0.0, noises)

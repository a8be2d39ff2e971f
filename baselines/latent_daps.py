"""LatentDAPS (Zhang et al., CVPR 2025, arXiv 2407.01521): decoupled annealing posterior sampling in latent space.

At falling noise levels: a few ODE steps predict the clean latent, MCMC moves it towards the measurement, and fresh
noise of the next level is added. Latents are in the variance-exploding scale, z = z_0 + sigma n. Where the public code
computes something else, the difference is a named choice; `baselines/README.md` says where every number comes from.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, Positive, takes
from ldsmc_bench.sampling.guidance import misfit_gradient, unit_clipped
from ldsmc_bench.sampling.trace import Trace


@dataclass(frozen=True)
class Level:
    """A round: the latent comes with noise `sigma` and leaves with noise `after`; its steps are `decay` of full."""

    sigma: float
    after: float
    decay: float


@dataclass(frozen=True)
class Step:
    """A noise level, and the training step that the denoiser gets for it."""

    sigma: float
    t: float  # an int where it is whole


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The arguments of LatentDAPS; conf/method and conf/variant say where each value comes from."""

    steps: Count  # noise levels, from sigma_max down to sigma_min,
    sigma_max: Positive
    sigma_min: Positive
    annealing: Literal["paper", "released"]  # as `paper_levels` or `released_levels` has them
    ode_steps: Count  # calls of the denoiser at each level, down to ode_end
    ode_end: Positive
    timesteps: Literal["schedule", "linear_vp"]  # of a noise level: `schedule_steps`, `linear_vp_steps`
    mcmc_steps: Natural  # calls of the decoder with its gradient at each level
    step_size: Positive  # of MCMC, which falls to the share step_decay of itself
    step_decay: Fraction
    momentum: Fraction  # 0 is Langevin's dynamics
    data_std: Positive  # the likelihood's standard deviation
    likelihood: Literal["half", "whole"]  # gradient of ||y - A(D(z))||^2 / 2, or the public code's without the half,
    clip: Literal["none", "value", "norm"]  # bounded by entry or by norm
    latent_fit_iterations: Natural  # of a fit of the result to y at the end (LD-SMC, App. A; not LatentDAPS' own)
    latent_fit_lr: Positive


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    The denoiser is never differentiated, and any operator will do that autograd passes through.
    """
    y, m = measurement.y, choices.momentum
    to_step = STEPS[choices.timesteps](prior.alpha_bar)
    half = 0.5 if choices.likelihood == "half" else 1.0

    def draw(name: str, *times: int) -> Tensor:
        return noise.normal(name, (*times, *prior.shape)).to(y)

    def denoise(z: Tensor, step: Step) -> Tensor:
        """E[z_0 | z]."""
        t = torch.full((len(z),), step.t, device=z.device)
        return z - step.sigma * prior.eps(z / (1 + step.sigma**2) ** 0.5, t)

    def score(x: Tensor, z_0: Tensor, sigma: float) -> Tensor:
        """The gradient of log p(z_0 = x | z, y), where p(z_0 | z) is N(z_0 predicted, sigma^2 I)."""
        gradient, _ = misfit_gradient(prior, measurement, x)
        return (z_0 - x) / sigma**2 - CLIPS[choices.clip](half * gradient) / choices.data_std**2

    # z ~ N(0, sigma_max^2 I)
    levels = LEVELS[choices.annealing](choices.steps, choices.sigma_max, choices.sigma_min, choices.step_decay)
    z = to_step(levels[0].sigma).sigma * draw("init")
    for k, level in enumerate(levels):
        # z_0 predicted: the probability-flow ODE from sigma_k towards 0, by Euler
        here = to_step(level.sigma)
        x, now = z, here
        for end in noise_grid(level.sigma, choices.ode_end, choices.ode_steps)[1:]:
            after = to_step(end) if end > choices.ode_end else Step(end, 0)
            x = after.sigma / now.sigma * x + (1 - after.sigma / now.sigma) * denoise(x, now)
            now = after
        # z_0 ~ p(z_0 | z, y): underdamped Langevin from the prediction, without acceptance
        z_0, v, noises = x, draw("momentum"), draw("mcmc", choices.mcmc_steps).unbind(1)
        x = langevin(x, v, partial(score, z_0=z_0, sigma=here.sigma), choices.step_size * level.decay, m, noises)
        # z ~ N(z_0, sigma_{k+1}^2 I)
        z = x + (to_step(level.after).sigma if level.after > 0 else 0.0) * draw("level")
        trace(len(levels) - 1 - k, z_0=x, z0_hat=z_0)
    return fits.fit_and_decode(prior, measurement, z, choices.latent_fit_iterations, choices.latent_fit_lr)


def langevin(
    x: Tensor,
    v: Tensor,
    score: Callable[[Tensor], Tensor],
    h: float | Tensor,
    momentum: float,
    noises: Iterable[Tensor],
) -> Tensor:
    """x after a step of size `h` of underdamped Langevin dynamics for each of `noises`, standard normals, from the
    velocity `v`; without acceptance. Momentum 0 is Langevin's own."""
    for e in noises:
        v = momentum * v + h**0.5 * score(x) + (2 * (1 - momentum)) ** 0.5 * e
        x = x + h**0.5 * v
    return x


def noise_grid(start: float, end: float, moves: int) -> list[float]:
    """`moves` + 1 noise levels from `start` to `end`, even in their seventh root (Karras et al. 2022, Eq. 5)."""
    root, last = start ** (1 / 7), end ** (1 / 7)
    return [start, *((root + i / moves * (last - root)) ** 7 for i in range(1, moves)), end]


def paper_levels(steps: int, sigma_max: float, sigma_min: float, decay: float) -> list[Level]:
    """`steps` levels, the first at `sigma_max` and the last at `sigma_min` with the fully decayed step size."""
    sigmas = noise_grid(sigma_max, sigma_min, steps - 1) if steps > 1 else [sigma_max]
    return [
        Level(sigma, after, 1 + k / max(1, steps - 1) * (decay - 1))
        for k, (sigma, after) in enumerate(pairwise([*sigmas, 0.0]))
    ]


def released_levels(steps: int, sigma_max: float, sigma_min: float, decay: float) -> list[Level]:
    """The public code's: 0 takes the place of `sigma_min`, and the step size stops short of its end."""
    sigmas = [*noise_grid(sigma_max, sigma_min, steps)[:-1], 0.0]
    return [Level(sigma, after, 1 + k / (steps + 1) * (decay - 1)) for k, (sigma, after) in enumerate(pairwise(sigmas))]


def schedule_steps(alpha_bar: Tensor) -> Callable[[float], Step]:
    """The training step whose noise level sqrt((1 - alpha_bar) / alpha_bar) is nearest, and that level in place of the
    one asked for: the denoiser gets the noise level of its input, and a step that it was trained with."""
    known = ((1 - alpha_bar) / alpha_bar).sqrt().cpu()

    def step(sigma: float) -> Step:
        t = int((known.log() - math.log(sigma)).abs().argmin())
        return Step(float(known[t]), t)

    return step


def linear_vp_steps(alpha_bar: Tensor) -> Callable[[float], Step]:
    """The public code's: the step, not whole, that has this noise level where betas rise linearly from 0.1 to 20 over
    the unit of time. Right for pixel priors, wrong for latent diffusion's schedule (by a factor of 2 in the end)."""
    first, rise = 0.1, 19.9

    def step(sigma: float) -> Step:
        time = (math.sqrt(first**2 + 2 * rise * math.log1p(sigma**2)) - first) / rise
        return Step(sigma, time * (len(alpha_bar) - 1))

    return step


LEVELS = {"paper": paper_levels, "released": released_levels}
STEPS = {"schedule": schedule_steps, "linear_vp": linear_vp_steps}
CLIPS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda gradient: gradient,
    "value": lambda gradient: gradient.clamp(-1, 1),
    "norm": unit_clipped,
}

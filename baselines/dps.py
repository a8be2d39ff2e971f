"""DPS (Chung et al., ICLR 2023, arXiv 2209.14687): diffusion posterior sampling, in pixels or in a latent space.

An ancestral step, moved against the gradient of the measurement's misfit at the predicted clean image, through the
denoiser; with a latent prior through the decoder too, which is latent-DPS (the LDPS of the LD-SMC paper): the same
function, since a pixel prior's codec is the identity. Everything is per image; the public code's norm spans its batch,
which it therefore keeps at one. Where paper and public code differ, the difference is a named choice, gathered in
`conf/variant/dps` and `conf/variant/latent_dps`.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from baselines.guided import Run, weight_of_z0
from baselines.levels import ddim_rows, spaced
from baselines.weighted import with_weights
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import Row, table
from ldsmc_bench.sampling.guidance import guided_denoiser, look_ahead, norm_gradient, residual, squared, unit_clipped
from ldsmc_bench.sampling.trace import Trace

Transition = Literal["learned", "small", "large"] | Fraction
Scaling = Literal["squared_norm", "norm", "unit_clip"]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    zeta: NonNegative,
    scaling: Scaling,
    transition: Transition,
    clip: bool,
    latent_fit_iterations: Natural,
    latent_fit_lr: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `zeta` is the paper's zeta', a factor of the gradient that `scaling` normalises (`shift`). `transition`: ancestral
    sampling with that variance (`spread`), or DDIM with this number as its eta. `clip` keeps x0_hat in [-1,1], the
    range of pixels. At the end the result is fitted to y by `latent_fit_iterations` steps of size `latent_fit_lr`
    (LD-SMC, App. A). Raises UserError for `clip` with a latent prior.
    """
    if clip:
        require_range(prior)

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    # x_N ~ N(0, I)
    x = draw()
    for k, row in reversed(list(enumerate(levels(prior.alpha_bar, steps, transition)))):
        move = step(prior, measurement, x, row, draw(), zeta=zeta, scaling=scaling, transition=transition, clip=clip)
        x = move.x
        trace(k, x=x, out=move.out, x0_hat=move.x0_hat)
    return fits.fit_and_decode(prior, measurement, x, latent_fit_iterations, latent_fit_lr)


@with_weights
@torch.no_grad()
def weighted(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    run: Run,
    *,
    steps: Count,
    zeta: NonNegative,
    scaling: Scaling,
    transition: Transition,
    clip: bool,
    latent_fit_iterations: Natural,
    latent_fit_lr: Positive,
) -> Tensor:
    """Restore the images of `measurement` as `sample` does, with weights: (B,3,H,W), about [-1,1].

    A `transition` by name has the posterior's variance, "small": the weights need one that is fixed. Raises UserError
    as `sample` does, and for a final latent fit, which no weight follows.
    """
    if clip:
        require_range(prior)
    if latent_fit_iterations:
        raise UserError("weighted=true: no weight follows a latent fit; give method.sample.latent_fit_iterations=0")
    rows = ddim_rows("paper", prior.alpha_bar, steps, 1.0 if isinstance(transition, str) else transition)
    guide = partial(posterior_mean, zeta=zeta, scaling=scaling, clip=clip)
    return run(prior, measurement, noise, trace, rows, guide)


def posterior_mean(
    prior: Prior, measurement: Measurement, z: Tensor, row: Row, zeta: float, scaling: Scaling, clip: bool
) -> Tensor:
    """The prediction z_0 (R,C,h,w), moved by what moves a step of DPS by its shift."""
    ahead = look_ahead(prior, z, row)
    with torch.enable_grad():
        z0_hat = ahead.z0_hat.clamp(-1, 1) if clip else ahead.z0_hat
    guided = guided_denoiser(ahead.z, z0_hat, lambda z0_hat: [squared(residual(prior, measurement, z0_hat))])
    return guided.z0_hat - zeta * shift(guided.gradient, guided.distances[0], scaling) / weight_of_z0(row)


def require_range(prior: Prior) -> None:
    """Raise UserError for a prior of latents, which have no range."""
    if tuple(prior.shape) != image_shape(prior):
        raise UserError(
            "method.sample.clip=true: only pixels lie in [-1,1], and this prior's latents do not; "
            "use method=latent_dps, or leave prior=... out"
        )


@dataclass(frozen=True)
class Move:
    """A step of each row: the prior's alone (`out`), the guided one (`x`), and x0_hat."""

    x: Tensor
    out: Tensor
    x0_hat: Tensor


def step(
    prior: Prior,
    measurement: Measurement,
    x: Tensor,
    row: Row,
    n: Tensor,
    *,
    zeta: float,
    scaling: Scaling,
    transition: Transition,
    clip: bool,
) -> Move:
    """DPS's step from the latents x (R,C,h,w), rows of which belong to the rows of `measurement`; n is its noise."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        # x0_hat = (x_i - sqrt(1 - abar_i) eps) / sqrt(abar_i)                                     (Algorithm 1, line 4)
        eps, v = prior.eps_and_variance(x, torch.full((len(x),), row.t, device=x.device))
        x0_hat = (x - (1 - row.a) ** 0.5 * eps) / row.a**0.5
        x0_hat = x0_hat.clamp(-1, 1) if clip else x0_hat
    guided = guided_denoiser(x, x0_hat, lambda x0_hat: [squared(residual(prior, measurement, x0_hat))])
    # x'_{i-1} ~ p(x_{i-1} | x_i, x0_hat)                                                            (lines 5 and 6)
    out = row.mean(x.detach(), guided.z0_hat) + spread(row, transition, None if v is None else v.detach()) * n
    # x_{i-1} = x'_{i-1} - zeta_i grad_{x_i} ||y - A(x0_hat)||^2                                            (line 7)
    return Move(out - zeta * shift(guided.gradient, guided.distances[0], scaling), out, guided.z0_hat)


def spread(row: Row, transition: Transition, v: Tensor | None) -> Tensor | float:
    """The standard deviation of a move: of DDIM, or of ancestral sampling with a variance that is "small" (the
    posterior's, beta~), "large" (beta) or "learned": between both by v (R,C,h,w), or small if the network has none.
    Betas are those of the respaced chain. The last move has no noise. (Nichol and Dhariwal 2021, Eq. 15.)"""
    if row.a_prev == 1:
        return 0.0
    beta = 1 - row.a / row.a_prev
    if transition == "large":
        return beta**0.5
    if transition == "learned" and v is not None:
        return row.sigma * torch.exp(0.5 * math.log(beta / row.sigma**2) * v)
    return row.sigma


def shift(gradient: Tensor, misfit: Tensor, scaling: Scaling) -> Tensor:
    """The gradient for zeta, from that of the `misfit` ||r||^2 of r = y - A(D(x0_hat(x))); per row.

    "squared_norm": grad ||r||^2 / ||r||, as the paper writes its step sizes. "norm": grad ||r||, the half of it, as the
    public code computes. "unit_clip": grad ||r||^2, divided by its own norm if that exceeds 1 (LD-SMC, App. D).
    """
    if scaling == "unit_clip":
        return unit_clipped(gradient)
    return norm_gradient(gradient, misfit) * (2 if scaling == "squared_norm" else 1)


def levels(alpha_bar: Tensor, steps: int, transition: Transition) -> list[Row]:
    """The respaced chain, rising; ancestral sampling has the sigma of DDIM with eta 1."""
    eta = 1.0 if isinstance(transition, str) else transition
    return table(alpha_bar, spaced(alpha_bar, steps), eta, dtype=torch.float64)

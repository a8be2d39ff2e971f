"""The hot path: look ahead from a latent, compare with the measurement, differentiate.

Everything acts on flat rows (images x particles); rows never influence each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.chain import Row

Gain = Literal["paper", "rms", "drift", "sigma2"]
Rows = Tensor | slice  # of flat rows
ALL = slice(None)
TINY = 1e-12  # a norm that is none: its gradient is zero, not 0/0


@dataclass(frozen=True)
class LookAhead:
    """The moments of the next move from latents z (R,C,h,w), `mean` without a graph, and the predicted clean latent
    `z0_hat`, joined to `z` by the graph that guidance differentiates."""

    z: Tensor
    z0_hat: Tensor
    mean: Tensor
    sigma: float


def look_ahead(prior: Prior, z: Tensor, row: Row, *, gradient: bool = True) -> LookAhead:
    """DDIM moments at `row`: mean = sqrt(a_prev) z0_hat + sqrt(1 - a_prev - sigma^2) eps."""
    z = z.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        eps = prior.eps(z, torch.full((len(z),), row.t, device=z.device))
        z0_hat = (z - (1 - row.a) ** 0.5 * eps) / row.a**0.5
    mean = row.a_prev**0.5 * z0_hat + max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 * eps
    return LookAhead(z, z0_hat, mean.detach(), row.sigma)


def residual(prior: Prior, measurement: Measurement, z: Tensor) -> Tensor:
    """y - A(D(z)), rows of `z` against rows of the measurement; with a graph if `z` has one."""
    with torch.set_grad_enabled(z.requires_grad):
        return measurement.y - measurement.operator(prior.decode(z))


def squared(error: Tensor) -> Tensor:
    """Squared Euclidean norm of each row, (R,)."""
    return error.square().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class Guided:
    """A denoiser's prediction without its graph, its distances (R,) from the measurement, and the gradient of their
    weighted sum at z."""

    z0_hat: Tensor
    distances: Sequence[Tensor]
    gradient: Tensor


def guided_denoiser(
    z: Tensor, z0_hat: Tensor, distances: Callable[[Tensor], Sequence[Tensor]], weights: Sequence[float] = (1.0,)
) -> Guided:
    """Differentiate distances of the prediction `z0_hat` from the measurement through its graph, which is freed.

    Where their weighted sum is -log p(y|z), z0_hat - (1 - a) / sqrt(a) gradient is the posterior mean given y too
    (Tweedie's formula). Samplers shift the mean of a move against the gradient, each in its own scale.
    """
    with torch.enable_grad():
        apart = distances(z0_hat)
    scales = [torch.full_like(one, weight) for one, weight in zip(apart, weights, strict=True)]
    (gradient,) = torch.autograd.grad(apart, z, scales)
    return Guided(z0_hat.detach(), [one.detach() for one in apart], gradient)


def misfit_gradient(prior: Prior, measurement: Measurement, z: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each row's ||y - A(D(z))||^2 at `z`, of which the denoiser is no part, and the misfits (R,)."""
    z = z.detach().requires_grad_(True)
    guided = guided_denoiser(z, z, lambda z: [squared(residual(prior, measurement, z))])
    return guided.gradient, guided.distances[0]


def data_gradient(error: Tensor, z: Tensor) -> Tensor:
    """Gradient of each row's squared error with respect to its latent; frees the graph."""
    return torch.autograd.grad(error, z, grad_outputs=2 * error.detach())[0]


def norm_gradient(gradient: Tensor, misfit: Tensor) -> Tensor:
    """The gradient of each row's norm, from that of its square, the `misfit` (R,)."""
    return gradient / (2 * misfit.sqrt().clamp(min=TINY)).reshape(-1, 1, 1, 1)


def unit_clipped(gradient: Tensor) -> Tensor:
    """Each row divided by max(its norm, 1): LD-SMC's normalisation (App. D; the norm, as the public code has it)."""
    norm = gradient.flatten(1).norm(dim=1).clamp(min=1)
    return gradient / norm.reshape(-1, *[1] * (gradient.ndim - 1))


def guided_mean(
    prior: Prior, ahead: LookAhead, error: Tensor, label: Measurement | None, kappa: float, rho: float, rows: Rows = ALL
) -> Tensor:
    """LD-SMC's proposal mean (Eq. 7 with the scaling of App. D): the move's mean, shifted against the unit-clipped
    gradients of ||y_0 - A(D(z0_hat(z)))||^2 and, with a label, of ||y_k - A(D(mu))||^2.

    `error` is y_0 - A(D(z0_hat)), joined to `ahead.z` by its graph, which is freed. Only the means of `rows` are
    computed, in that order; a label has these rows alone.
    """
    shift, mean = unit_clipped(data_gradient(error, ahead.z))[rows], ahead.mean[rows]
    if label is not None:
        shift = (1 - rho) * shift + rho * unit_clipped(misfit_gradient(prior, label, mean)[0])
    return mean - kappa * shift


def twisted_mean(
    ahead: LookAhead, error: Tensor, weighted_error: Tensor, row: Row, gain: Gain, clip: float | None
) -> Tensor:
    """A proposal mean shifted along the gradient of log pbar(y_0|z), through the graph of `error` (which is freed): by
    sigma^2 times that ("sigma2": the twisted diffusion sampler's), or as a guided denoiser shifts the mean ("drift").
    The shift is at most `clip` sigma long.
    """
    (gradient,) = torch.autograd.grad(error, ahead.z, grad_outputs=-weighted_error)
    kept = max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 / (1 - row.a) ** 0.5
    drift = (row.a_prev**0.5 - kept * row.a**0.5) * (1 - row.a) / row.a**0.5
    shift = (drift if gain == "drift" else row.sigma**2) * gradient
    if clip is not None and row.sigma > 0:
        shift = row.sigma * clip * unit_clipped(shift / (row.sigma * clip))
    return ahead.mean + shift


def log_normal(value: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """log N(value; mean, sigma^2 I) of each row without its constant: (R,), float64."""
    return -0.5 * squared((value - mean).double()) / sigma**2

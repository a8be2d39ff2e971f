"""The hot path: look ahead from a latent, compare with the measurement, move along the gradient.

Everything acts on flat rows (images x particles); rows never influence each other.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.chain import Row

Gain = Literal["paper", "drift", "sigma2"]


@dataclass(frozen=True)
class LookAhead:
    """The denoiser's view from latents z (R,C,h,w): moments of the next move and the predicted clean latent.

    `z` and `z0_hat` are joined by the graph that guidance differentiates; `mean` is detached.
    """

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
    """y - A(D(z)), rows of `z` against rows of the measurement."""
    return measurement.y - measurement.operator(prior.decode(z))


def squared(error: Tensor) -> Tensor:
    """Squared Euclidean norm of each row, (R,)."""
    return error.square().flatten(1).sum(dim=1)


def unit_clipped(gradient: Tensor) -> Tensor:
    """Each row divided by max(its norm, 1): LD-SMC's normalisation (App. D; the norm, as the public code has it)."""
    norm = gradient.flatten(1).norm(dim=1).clamp(min=1)
    return gradient / norm.reshape(-1, *[1] * (gradient.ndim - 1))


def data_gradient(error: Tensor, z: Tensor) -> Tensor:
    """Gradient of each row's squared error with respect to its latent; frees the graph."""
    return torch.autograd.grad(error, z, grad_outputs=2 * error.detach())[0]


def label_gradient(prior: Prior, label: Measurement, mean: Tensor) -> Tensor:
    """Gradient of ||y_k - A(D(mu))||^2 with respect to mu; the denoiser is not part of it."""
    mean = mean.detach().requires_grad_(True)
    with torch.enable_grad():
        error = residual(prior, label, mean)
    return data_gradient(error, mean)


def guided_mean(
    prior: Prior, ahead: LookAhead, error: Tensor, label: Measurement | None, kappa: float, rho: float
) -> Tensor:
    """LD-SMC's proposal mean (Eq. 7 with the scaling of App. D): the move's mean, shifted against the unit-clipped
    gradients of ||y_0 - A(D(z0_hat(z)))||^2 and, where there is a label, of ||y_k - A(D(mu))||^2.

    `error` is y_0 - A(D(z0_hat)), joined to `ahead.z` by its graph, which is freed.
    """
    shift = unit_clipped(data_gradient(error, ahead.z))
    if label is not None:
        shift = (1 - rho) * shift + rho * unit_clipped(label_gradient(prior, label, ahead.mean))
    return ahead.mean - kappa * shift


def twisted_mean(ahead: LookAhead, error: Tensor, pull: Tensor, row: Row, gain: Gain, clip: float | None) -> Tensor:
    """A proposal mean that follows the gradient of log pbar(y_0|z), `pull` carried back through the graph of `error`
    (which is freed): times sigma^2 ("sigma2": the twisted diffusion sampler's), or times what moves the mean as
    Tweedie's correction of z0_hat by that gradient would ("drift"). Moved by at most `clip` sigma.
    """
    (gradient,) = torch.autograd.grad(error, ahead.z, grad_outputs=-pull)
    kept = max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 / (1 - row.a) ** 0.5
    drift = (row.a_prev**0.5 - kept * row.a**0.5) * (1 - row.a) / row.a**0.5
    shift = (drift if gain == "drift" else row.sigma**2) * gradient
    if clip is not None and row.sigma > 0:
        shift = row.sigma * clip * unit_clipped(shift / (row.sigma * clip))
    return ahead.mean + shift


def log_normal(value: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """log N(value; mean, sigma^2 I) of each row without its constant: (R,), float64."""
    return -0.5 * squared((value - mean).double()) / sigma**2

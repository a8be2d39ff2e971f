"""Twisting functions psi(z_k) = N(y_0; A(D(z0_hat(z_k))), V), approximations of p(y_0|z_k).

Any positive psi leaves the weights exact, since the next step divides by the factor that one multiplies by; a V that is
smaller than the error of A(D(z0_hat)) makes them vary wildly.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.guidance import LookAhead

Twist = Literal["cal", "ray", "tmpd", "tds", "ratio", "noise", "paper"]
CALIBRATED = ("cal", "ray")  # twists that read the prior's calibration
LEAST = 1e-8  # variance


def twisted(
    prior: Prior, y_0: Measurement, ahead: LookAhead, error: Tensor, a: float, twist: Twist, floor: float | None
) -> tuple[Tensor, Tensor]:
    """log psi (R,), float64, and V^-1 error, at latents of alpha_bar `a` for their `error` y_0 - A(D(z0_hat)), joined
    to them by its graph.

    V is noise_std^2 I plus the error of A(D(z0_hat)): by "cal" the calibrated mean square of the prior, by "tmpd" the
    covariance of z_0 given z by Tweedie's formula (Boys et al. 2023; a backward pass for each entry of y), by "ray" the
    calibrated form, rescaled to the variance that "tmpd" has along `error` (ours; one backward pass), by "tds"
    (1 - a) I, by "ratio" (1 - a) / a I, by "noise" none. "paper" is (1 - a) I alone. Below -`floor` the exponent is
    -`floor`, which bounds the weights; the gradient is kept. Raises UserError for a prior without calibration.
    """
    exponent, log_scale, weighted = gaussian(error.detach(), _variance(prior, y_0, ahead, error, a, twist))
    bounded = exponent if floor is None else exponent.clamp(min=-floor)
    return bounded + log_scale, weighted


def gaussian(error: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N(error; 0, V) of the rows of `error` (R,c,h,w): its exponent (R,) and the logarithm of its scale (R,), float64,
    and V^-1 error. `variance`: numbers (G,) or matrices (G,d,d), each for R / G rows that follow each other."""
    rows = error.double().reshape(len(variance), -1, error[0].numel())
    if variance.ndim == 1:
        log_scale = -0.5 * rows.shape[-1] * torch.log(2 * math.pi * variance)
        exponent = -0.5 * rows.square().sum(-1) / variance[:, None]
        weighted = rows / variance[:, None, None]
    else:
        root, failed = torch.linalg.cholesky_ex(variance)
        root = torch.where(failed[:, None, None] == 0, root, torch.nan)  # a row that blew up fails alone
        log_scale = -root.diagonal(dim1=1, dim2=2).log().sum(-1) - 0.5 * rows.shape[-1] * math.log(2 * math.pi)
        weighted = torch.cholesky_solve(rows.mT, root).mT
        exponent = -0.5 * (rows * weighted).sum(-1)
    log_scale = log_scale.repeat_interleave(rows.shape[1])
    return exponent.flatten(), log_scale, weighted.to(error.dtype).reshape(error.shape)


def noise_variance(measurement: Measurement) -> Tensor:
    """noise_std^2 of each row (R,), float64, at least 1e-8."""
    std, rows = measurement.noise_std, len(measurement.y)
    if not isinstance(std, Tensor):
        return torch.full((rows,), max(std * std, LEAST), dtype=torch.float64, device=measurement.y.device)
    return std.double().square().clamp(min=LEAST).expand(rows, 1, 1, 1).flatten()


def _variance(prior: Prior, y_0: Measurement, ahead: LookAhead, error: Tensor, a: float, twist: Twist) -> Tensor:
    if twist == "paper":
        return torch.full((1,), 1 - a, dtype=torch.float64, device=error.device)
    noise = noise_variance(y_0)
    if twist in (plain := {"noise": 0.0, "tds": 1 - a, "ratio": (1 - a) / a}):
        return noise + plain[twist]
    if twist == "tmpd":
        left = _tweedie(ahead, error, a)
    elif not hasattr(prior, "prediction_error_variance"):
        raise UserError(f"method.sample.twist={twist}: this prior was not calibrated; use tds, tmpd or paper")
    else:
        left = prior.prediction_error_variance(y_0.operator, a).to(error.device, non_blocking=True)
        left = _along(ahead, error, a, left) if twist == "ray" else left
    groups = noise.reshape(len(left), -1)[:, 0]
    if left.ndim == 1:
        return groups + left
    return left + groups[:, None, None] * torch.eye(left.shape[-1], dtype=left.dtype, device=left.device)


def _tweedie(ahead: LookAhead, error: Tensor, a: float) -> Tensor:
    """Tweedie's covariance B C B^T (R,d,d), B the Jacobian of A(D(.)) at z0_hat and C = (1 - a) / sqrt(a) dz0_hat/dz;
    negative eigenvalues are cut (a network's C is no covariance)."""
    entries = torch.eye(error[0].numel(), dtype=error.dtype, device=error.device).reshape(-1, 1, *error.shape[1:])
    at = ahead.z, ahead.z0_hat
    both = [torch.autograd.grad(error, at, entry.expand_as(error), retain_graph=True) for entry in entries]
    through, at_z0 = (torch.stack([pair[side].flatten(1) for pair in both], dim=1).double() for side in (0, 1))
    left = (1 - a) / a**0.5 * through @ at_z0.mT
    values, vectors = torch.linalg.eigh((left + left.mT) / 2)
    return (vectors * values.clamp(min=0)[:, None]) @ vectors.mT


def _along(ahead: LookAhead, error: Tensor, a: float, left: Tensor) -> Tensor:
    """Rescale the covariance `left`, (G,) or (G,d,d), per row, (R,) or (R,d,d), so that its variance along the residual
    direction e equals that of the Tweedie covariance B C B^T (clipped at 0)."""
    direction = error.detach() / error.detach().flatten(1).norm(dim=1).clamp(min=LEAST).reshape(-1, 1, 1, 1)
    through, at_z0 = torch.autograd.grad(error, (ahead.z, ahead.z0_hat), direction, retain_graph=True)
    found = (1 - a) / a**0.5 * (through * at_z0).double().flatten(1).sum(dim=1).clamp(min=0)
    left = left.repeat_interleave(len(error) // len(left), dim=0)
    if left.ndim == 1:
        return found
    e = direction.flatten(1).double()
    known = torch.einsum("ri,rij,rj->r", e, left, e).clamp(min=LEAST)
    return left * (found / known)[:, None, None]

"""Fits to the measurement: of pixels (before encoding) and of latents (after sampling)."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.conjugate_gradients import solve
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.guidance import residual, squared

LR = 5e-3  # AdamW's step in the public LD-SMC code
EXACT = 1e-10  # mean squared error at which its fits stop
ITERATIONS: ContextVar[Callable[[int], Iterable[int]]] = ContextVar("iterations", default=range)  # shorter in a sketch


def least_squares(measurement: Measurement, x: Tensor, iterations: int = 100) -> Tensor:
    """The minimiser of ||y - A(x)||^2 nearest to `x` (LD-SMC, Eq. 3), for a linear A, by conjugate gradients."""
    operator = measurement.operator
    gradient = operator.adjoint(measurement.y - operator(x))
    return x + solve(lambda v: operator.adjoint(operator(v)), gradient, iterations)


def pixel_fit(measurement: Measurement, x: Tensor, iterations: int = 5000, **options: Any) -> Tensor:
    """min_x ||y - A(x)||^2 over images (B,3,H,W), by AdamW from `x`; its weight decay shrinks what A does not see."""
    return adamw_descent(lambda x: measurement.y - measurement.operator(x), x, iterations, **options)


def latent_fit(prior: Prior, measurement: Measurement, z: Tensor, iterations: int = 500, **options: Any) -> Tensor:
    """min_z ||y - A(D(z))||^2 over latents (B,C,h,w) from `z`: the final latent optimisation of LD-SMC's App. A, and
    ReSample's hard data consistency, with the public codes' defaults."""
    return adamw_descent(lambda z: residual(prior, measurement, z), z, iterations, patience=200, **options)


def fit_and_decode(prior: Prior, measurement: Measurement, z: Tensor, iterations: int, lr: float) -> Tensor:
    """The images (B,3,H,W) of a sampler's latents, after so many steps of a last fit (LD-SMC, App. A)."""
    if iterations:  # else no optimiser either, which takes PyTorch seconds to import
        z = latent_fit(prior, measurement, z, iterations, lr=lr)
    return prior.decode(z)


def adamw_descent(
    error: Callable[[Tensor], Tensor],
    x: Tensor,
    iterations: int,
    *,
    patience: int | None = None,
    lr: float = LR,
    fitted_at: float | Tensor = EXACT,
    weight_decay: float = 0.01,  # PyTorch's default
) -> Tensor:
    """AdamW on the mean square of `error(x)` (B,c,h,w), rows apart: at most `iterations` steps of size `lr`.

    A row stops after the step at which its loss was below `fitted_at` (a number, or one a row (B,)), or no smaller than
    `patience` iterations before; it keeps its last iterate, as the public codes do. None: it never loses patience.
    """
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([x], lr=lr, weight_decay=weight_decay)
    running = torch.ones(len(x), dtype=torch.bool, device=x.device)
    losses: list[Tensor] = []
    for iteration in ITERATIONS.get()(iterations):
        with torch.enable_grad():
            apart = error(x)
            loss = squared(apart) / apart[0].numel()
            (x.grad,) = torch.autograd.grad(loss.sum(), x)
        before = x.detach().clone()
        optimizer.step()
        with torch.no_grad():
            x.copy_(torch.where(running.reshape(-1, 1, 1, 1), x, before))
        running = running & (loss.detach() >= fitted_at)
        if patience is not None:
            losses.append(loss.detach())
            if iteration >= patience:
                running = running & (losses.pop(0) >= losses[-1])
        if iteration % 50 == 49 and not running.any():  # asked seldom, since a GPU's answer is waited for
            break
    return x.detach()

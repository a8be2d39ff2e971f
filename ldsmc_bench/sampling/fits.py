"""Fits to the measurement by descent: of pixels (before encoding) and of latents (after sampling)."""

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.guidance import residual, squared

LR = 5e-3  # AdamW's step in the public LD-SMC code; weight decay stays at PyTorch's default of 0.01, as there
EXACT = 1e-10  # mean squared error at which its fits stop


def least_squares(measurement: Measurement, x: Tensor, iterations: int = 100) -> Tensor:
    """The minimiser of ||y - A(x)||^2 nearest to the start (LD-SMC, Eq. 3), by conjugate gradients; A must be linear.

    One iteration is exact for masks. An image stops moving once its fit is exact.
    """
    operator = measurement.operator
    error = measurement.y - operator(x)
    gradient = operator.adjoint(error)
    direction, norm = gradient, squared(gradient)
    start = norm
    for _ in range(iterations):
        moved = operator(direction)
        open_ = (norm > 1e-12 * start) & (squared(moved) > 0)
        step = torch.where(open_, norm / squared(moved).clamp(min=1e-30), 0.0).reshape(-1, 1, 1, 1)
        x = x + step * direction
        error = error - step * moved
        gradient = operator.adjoint(error)
        previous, norm = norm, squared(gradient)
        direction = gradient + (norm / previous.clamp(min=1e-30)).reshape(-1, 1, 1, 1) * direction
        if not open_.any():
            break
    return x


def pixel_fit(measurement: Measurement, x: Tensor, iterations: int = 5000) -> Tensor:
    """The public code's fit of x to y: AdamW, whose weight decay shrinks what A does not see."""
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([x], lr=LR)
    size = measurement.y[0].numel()
    for _ in range(iterations):
        with torch.enable_grad():
            loss = (squared(measurement.y - measurement.operator(x)) / size).sum()
        (x.grad,) = torch.autograd.grad(loss, x)
        optimizer.step()
    return x.detach()


def latent_fit(prior: Prior, measurement: Measurement, z: Tensor, iterations: int = 500, patience: int = 200) -> Tensor:
    """min_z ||y - A(D(z))||^2 from a sampled latent (the final latent optimisation of App. A).

    A row stops where its loss is exact, or no smaller than `patience` iterations before; it keeps its last iterate.
    """
    z = z.detach().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([z], lr=LR)
    size = measurement.y[0].numel()
    running = torch.ones(len(z), dtype=torch.bool, device=z.device)
    losses: list[Tensor] = []
    for iteration in range(iterations):
        with torch.enable_grad():
            loss = squared(residual(prior, measurement, z)) / size
            (z.grad,) = torch.autograd.grad(loss.sum(), z)
        before = z.detach().clone()
        optimizer.step()
        with torch.no_grad():
            z.copy_(torch.where(running.reshape(-1, 1, 1, 1), z, before))
        losses.append(loss.detach())
        running = running & (losses[-1] >= EXACT)
        if iteration >= patience:
            running = running & (losses.pop(0) >= losses[-1])
        if iteration % 50 == 49 and not running.any():
            break
    return z.detach()

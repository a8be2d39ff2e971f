"""Fits to the measurement by descent: of pixels (before encoding) and of latents (after sampling)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.guidance import residual, squared

LR = 5e-3  # AdamW's step in the public LD-SMC code
WEIGHT_DECAY = 0.01  # and its weight decay: PyTorch's default
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


def pixel_fit(
    measurement: Measurement,
    x: Tensor,
    iterations: int = 5000,
    *,
    lr: float = LR,
    fitted_at: float | Tensor = EXACT,
    weight_decay: float = WEIGHT_DECAY,
) -> Tensor:
    """min_x ||y - A(x)||^2 over images (B,3,H,W), by AdamW from `x`; its weight decay shrinks what A does not see.

    The defaults are the public LD-SMC code's; the other arguments are those of `descent`.
    """

    def misfit(x: Tensor) -> Tensor:
        return squared(measurement.y - measurement.operator(x))

    return descent(misfit, measurement, x, iterations, None, lr=lr, fitted_at=fitted_at, weight_decay=weight_decay)


def latent_fit(
    prior: Prior,
    measurement: Measurement,
    z: Tensor,
    iterations: int = 500,
    patience: int | None = 200,
    *,
    lr: float = LR,
    fitted_at: float | Tensor = EXACT,
    weight_decay: float = WEIGHT_DECAY,
) -> Tensor:
    """min_z ||y - A(D(z))||^2 over latents (B,C,h,w) from `z`: the final latent optimisation of LD-SMC's App. A, and
    ReSample's hard data consistency. The defaults are the public codes'; the arguments are those of `descent`."""

    def misfit(z: Tensor) -> Tensor:
        return squared(residual(prior, measurement, z))

    return descent(misfit, measurement, z, iterations, patience, lr=lr, fitted_at=fitted_at, weight_decay=weight_decay)


def descent(
    misfit: Callable[[Tensor], Tensor],
    measurement: Measurement,
    x: Tensor,
    iterations: int,
    patience: int | None,
    *,
    lr: float,
    fitted_at: float | Tensor,
    weight_decay: float,
) -> Tensor:
    """AdamW on the mean over y's entries of `misfit(x)` (B,), rows apart: at most `iterations` steps of size `lr`.

    A row stops after the step at which its loss was below `fitted_at` (a number, or one a row (B,)), or no smaller than
    `patience` iterations before; it keeps its last iterate, as the public codes do. None: it never loses patience.
    """
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([x], lr=lr, weight_decay=weight_decay)
    size = measurement.y[0].numel()
    running = torch.ones(len(x), dtype=torch.bool, device=x.device)
    losses: list[Tensor] = []
    for iteration in range(iterations):
        with torch.enable_grad():
            loss = misfit(x) / size
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
        if iteration % 50 == 49 and not running.any():  # asked seldom, since the answer is waited for
            break
    return x.detach()


def discrepancy(measurement: Measurement) -> Tensor:
    """The mean squared error (B,) over y's entries that the truth has on average: the noise's variance where y carries
    information, and what stands in the hole where it does not (Morozov's principle); at least EXACT."""
    observed = measurement.operator.observed()
    seen = torch.ones_like(measurement.y) if observed is None else observed.expand_as(measurement.y)
    expected = torch.where(seen > 0, measurement.noise_std**2, measurement.y.square())
    return expected.flatten(1).mean(dim=1).clamp(min=EXACT)

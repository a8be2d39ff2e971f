"""Conjugate gradients for a symmetric positive definite M, row by row, with the exact derivative of M^-1."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
ASKED = 5  # iterations until it is asked again whether all rows are done, since a GPU's answer is waited for


def solve(apply: Linear, b: Tensor, iterations: int = 50, tolerance: float = 1e-6) -> Tensor:
    """M^-1 b for rows b (B,...), where `apply` is M.

    A row stops once its residual is `tolerance` times what it was. Autograd solves once more instead of keeping the
    iterations: memory does not grow with them.
    """
    solution: Tensor = _Solve.apply(b, apply, iterations, tolerance)
    return solution


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, b: Tensor, apply: Linear, iterations: int, tolerance: float) -> Tensor:
        ctx.problem = apply, iterations, tolerance
        return _descend(apply, b, iterations, tolerance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return solve(ctx.problem[0], gradients[0], *ctx.problem[1:]), None, None, None  # M^-1 is symmetric


@torch.no_grad()
def _descend(apply: Linear, b: Tensor, iterations: int, tolerance: float) -> Tensor:
    x, residual, direction = torch.zeros_like(b), b, b
    norm = start = _dot(b, b)
    for iteration in range(iterations):
        going = norm > tolerance**2 * start
        if iteration % ASKED == 0 and not going.any():
            break
        image = apply(direction)
        step = torch.where(going, norm / _dot(direction, image), 0.0)
        x, residual = x + step * direction, residual - step * image
        previous, norm = norm, torch.where(going, _dot(residual, residual), norm)
        direction = residual + torch.where(going, norm / previous, 0.0) * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the rows, shaped to multiply them."""
    return (a * b).flatten(1).sum(dim=1).reshape(-1, *[1] * (a.ndim - 1))

"""Measurements of vectors that are not linear: f(A x), entry by entry, for the random matrices A of `task=linear`.

Noise falls on f(A x), as samplers presume: y = f(A x) + noise_std n, and not f(A x + n).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.masks import require
from ldsmc_bench.problem.operators import SharedOperator


@dataclass(frozen=True, eq=False)
class Nonlinear(SharedOperator):
    """y = f(A x), of shape (R,1,1,dy), for x (R,C,H,W). `task` and `numbers` name f, as the configuration does.

    `step` is the largest jump of f, which else moves no faster than its argument.
    """

    inner: Linear
    f: Callable[[Tensor], Tensor]
    task: str
    numbers: dict[str, float]
    step: float = 0.0
    linear: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.f(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        raise Unsupported(f"task={self.task} is not linear: it has no adjoint")

    def pinv(self, y: Tensor, delta: float | Tensor = 0.0) -> Tensor:
        """A right inverse where `delta` is 0: f(A pinv(y)) = y for every y that f reaches, as f(y) = y there."""
        return self.inner.pinv(y, delta)

    def select(self, index: Tensor) -> Self:
        return replace(self, inner=self.inner.select(index))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return replace(self, inner=self.inner.to(device, dtype))


def phase(image_size: int, noise: Noise, *, dy: int, channels: int) -> Nonlinear:
    """The magnitudes |A x|: real phase retrieval, where each entry keeps its size and loses its sign."""
    inner = tasks.linear(image_size, noise, dy=dy, channels=channels)
    return Nonlinear(inner, torch.abs, "phase", {"dy": dy})


def clip(image_size: int, noise: Noise, *, dy: int, channels: int, limit: float) -> Nonlinear:
    """A x, clipped to [-limit, limit]: a detector that saturates."""
    require("limit", limit, "above 0", lambda number: number > 0)
    inner = tasks.linear(image_size, noise, dy=dy, channels=channels)
    return Nonlinear(inner, partial(torch.clamp, min=-limit, max=limit), "clip", {"dy": dy, "limit": limit})


def quantise(image_size: int, noise: Noise, *, dy: int, channels: int, bits: int, step: float) -> Nonlinear:
    """A x in 2^bits levels, `step` apart and even about 0; with one bit its sign, times step / 2. The gradient passes
    straight through: the true one is 0 almost everywhere, and would lead no sampler."""
    require("bits", bits, "a whole number of 1 to 8", lambda number: number in range(1, 9))
    require("step", step, "above 0", lambda number: number > 0)
    inner = tasks.linear(image_size, noise, dy=dy, channels=channels)
    numbers = {"dy": dy, "bits": bits, "step": step}
    return Nonlinear(inner, partial(_rounded, bits=bits, step=step), "quantise", numbers, step=step)


def _rounded(u: Tensor, bits: int, step: float) -> Tensor:
    most = 2 ** (bits - 1)
    level = step * ((u / step).floor().clamp(-most, most - 1) + 0.5)
    return level.detach() + (u - u.detach())

"""What a measurement operator is, and the two that need no arithmetic: the mask and the identity.

An operator A holds a batch of per-image operators, one per row of the images it is applied to. It works in the dtype
and on the device that it was brought to with `to`, and autograd passes through it.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor


class Operator(Protocol):
    """A batch of measurement operators, applied row by row."""

    @property
    def linear(self) -> bool:
        """Whether A is linear, and so has an adjoint."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """A(x): (B,3,H,W) images in [-1,1] -> (B,c,h,w)."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """The true adjoint of a linear operator, <Ax, y> = <x, adjoint(y)>: (B,c,h,w) -> (B,3,H,W).

        Raises Unsupported for one that is not linear.
        """
        ...

    def observed(self) -> Tensor | None:
        """1 where y carries information and 0 elsewhere, broadcastable to y; None where all of y does."""
        ...

    def select(self, index: Tensor) -> "Operator":
        """The operators of the rows `index` (long): a subset, or the same row again for each of its particles."""
        ...

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Operator":
        """The same operators, for images on this device and in this dtype (float32 or float64)."""
        ...


@runtime_checkable
class Invertible(Operator, Protocol):
    """An operator that can be inverted as far as it keeps information; ask with `isinstance(operator, Invertible)`."""

    def pinv(self, y: Tensor, delta: float | Tensor = 0.0) -> Tensor:
        """(A^T A + delta)^-1 A^T y: (B,c,h,w) -> (B,3,H,W), row by row, differentiable.

        `delta` (at least 0; one for all, or one a row (B,1,1,1)) is the variance of the noise over that of the image,
        both about their means: what y holds less of than noise is left out. With 0 it is the Moore-Penrose inverse,
        A(pinv(y)) = y for every y in A's range; the blurs, which keep next to nothing of fine detail, document what
        they leave out instead. A non-linear operator gives a right inverse.
        """
        ...


@dataclass(frozen=True, eq=False)
class Mask:
    """Inpainting: y = mask * x at full size, zero in the hole. `mask` is (B,1,H,W), 1 = observed, one per image."""

    mask: Tensor
    linear: ClassVar[bool] = True

    def __call__(self, x: Tensor) -> Tensor:
        return self.mask * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return self.mask * y / (1 + delta)  # a projector is its own pseudo-inverse

    def observed(self) -> Tensor:
        return self.mask

    def select(self, index: Tensor) -> Self:
        return type(self)(self.mask[index])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.mask.to(device, dtype))


@dataclass(frozen=True, eq=False)
class Identity:
    """Denoising: y = x plus noise."""

    linear: ClassVar[bool] = True

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return y / (1 + delta)

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return self

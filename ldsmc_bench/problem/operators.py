"""Measurement operators: their interface, their base class, and those of a line or two.

An operator A holds a batch of per-image operators, one per row of the images it is applied to. It works in the dtype
and on the device that it was brought to with `to`, and autograd passes through it.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.problem.spectral import Spectral, of_channels, of_mask


class Operator(Protocol):
    """A batch of measurement operators, applied row by row."""

    @property
    def linear(self) -> bool:
        """True if A is linear, and so has an adjoint."""

    def __call__(self, x: Tensor) -> Tensor:
        """A(x): (B,3,H,W) images in [-1,1] -> (B,c,h,w)."""

    def adjoint(self, y: Tensor) -> Tensor:
        """The true adjoint of a linear operator, <Ax, y> = <x, adjoint(y)>: (B,c,h,w) -> (B,3,H,W).

        Raises Unsupported for one that is not linear.
        """

    def observed(self) -> Tensor | None:
        """1 where y carries information and 0 elsewhere, broadcastable to y; None where all of y does."""

    def select(self, index: Tensor) -> "Operator":
        """The operators of the rows `index` (long): a subset, or the same row again for each of its particles."""

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Operator":
        """The same operators, for images on this device and in this dtype (float32 or float64)."""


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


@runtime_checkable
class Decomposable(Operator, Protocol):
    """A linear operator with a singular value decomposition in closed form, or one that costs next to nothing."""

    def spectral(self, like: Tensor) -> Spectral:
        """A = U diag(s) V^T for images of the shape (...,C,H,W), dtype and device of `like`."""


def spectral(operator: Operator, like: Tensor, *, method: str) -> Spectral:
    """The singular value decomposition of `operator` for images of the shape, dtype and device of `like` (...,C,H,W).

    Raises Unsupported, in the name of `method`, for an operator that has none.
    """
    if not operator.linear:
        raise Unsupported(f"{method}: needs singular values, and this task's operator is not linear")
    if not isinstance(operator, Decomposable):
        raise Unsupported(f"{method}: needs singular values, and this task's operator has none in closed form")
    return operator.spectral(like)


@dataclass(frozen=True, eq=False)
class SharedOperator:
    """Base class: linear, the same for every image, and observing all of y, which is on the scale of images."""

    linear: ClassVar[bool] = True
    brightness: ClassVar[bool] = True

    def observed(self) -> Tensor | None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same operator with its tensors on the device, those of floating point in the dtype."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        tensors = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **{name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()})


@dataclass(frozen=True, eq=False)
class Mask(SharedOperator):
    """Inpainting: y = mask * x at full size, zero in the hole. `mask` is (B,1,H,W), 1 = observed, one per image."""

    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.mask * x

    def adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return self.mask * y / (1 + delta)  # a projector is its own pseudo-inverse

    def spectral(self, like: Tensor) -> Spectral:
        return of_mask(self.mask, like.shape[-3:])

    def observed(self) -> Tensor:
        return self.mask

    def select(self, index: Tensor) -> Self:
        return type(self)(self.mask[index])


@dataclass(frozen=True, eq=False)
class Identity(SharedOperator):
    """Denoising: y = x plus noise."""

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return y / (1 + delta)

    def spectral(self, like: Tensor) -> Spectral:
        return of_mask(like.new_ones(1, 1, 1, 1), like.shape[-3:])


@dataclass(frozen=True, eq=False)
class Grey(SharedOperator):
    """Colorization: y is the weighted mean of the channels, (B,3,H,W) -> (B,1,H,W); `weights` (3,)."""

    weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.weights):
            raise Unsupported(f"a mean of {len(self.weights)} channels, and these images have {x.shape[1]}")
        return (self._channels * x).sum(dim=1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._channels * y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return self.adjoint(y) / (self.weights.square().sum() + delta)

    def spectral(self, like: Tensor) -> Spectral:
        return of_channels(self.weights, like.shape[-3:])

    @property
    def _channels(self) -> Tensor:
        return self.weights.reshape(1, -1, 1, 1)


@dataclass(frozen=True, eq=False)
class Overexposed(SharedOperator):
    """High dynamic range: y = x times `gain`, clipped to [-1,1] (DAPS: gain 2)."""

    gain: float
    linear: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> Tensor:
        return (self.gain * x).clamp(-1, 1)

    def adjoint(self, y: Tensor) -> Tensor:
        raise Unsupported("HDR is not linear: it has no adjoint")

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """A right inverse, A(pinv(y)) = y for y in [-1,1] where `delta` is 0: what was clipped is put at the limit."""
        return self.gain / (self.gain**2 + delta) * y


@dataclass(frozen=True, eq=False)
class PhaseRetrieval(SharedOperator):
    """The magnitudes of each channel's Fourier transform: (B,3,H,W) -> (B,3,H+2p,W+2p), low frequencies in the middle.

    The picture is in a frame of `padding` p zeros; the transform is orthonormal. As in DPS, x is in [-1,1], so x,
    -x and x turned by 180 degrees are measured alike (DAPS takes x to [0,1] first, which distinguishes x from -x).
    """

    padding: int
    linear: ClassVar[bool] = False
    brightness: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> Tensor:
        framed = torch.fft.ifftshift(F.pad(x, [self.padding] * 4), dim=(-2, -1))
        magnitudes: Tensor = torch.fft.fftshift(torch.fft.fft2(framed, norm="ortho"), dim=(-2, -1)).abs()
        return magnitudes

    def adjoint(self, y: Tensor) -> Tensor:
        raise Unsupported("phase retrieval is not linear: it has no adjoint")

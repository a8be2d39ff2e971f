"""Operators that are not linear: they have no adjoint, and a sampler that asks for it is told so."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ldsmc_bench.errors import Unsupported


@dataclass(frozen=True, eq=False)
class Overexposed:
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

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return self


@dataclass(frozen=True, eq=False)
class PhaseRetrieval:
    """The magnitudes of each channel's Fourier transform: (B,3,H,W) -> (B,3,H+2p,W+2p), low frequencies in the middle.

    The picture stands in a frame of `padding` p zeros; the transform is orthonormal. As in DPS, x is in [-1,1], so x,
    -x and x turned by 180 degrees are measured alike (DAPS takes x to [0,1] first, which tells x from -x).
    """

    padding: int
    linear: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> Tensor:
        framed = torch.fft.ifftshift(F.pad(x, [self.padding] * 4), dim=(-2, -1))
        magnitudes: Tensor = torch.fft.fftshift(torch.fft.fft2(framed, norm="ortho"), dim=(-2, -1)).abs()
        return magnitudes

    def adjoint(self, y: Tensor) -> Tensor:
        raise Unsupported("phase retrieval is not linear: it has no adjoint")

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return self

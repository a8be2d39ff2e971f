"""Blurs with reflected borders: one symmetric separable filter for all images, or a kernel of its own for each."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ldsmc_bench.problem import mirror


@dataclass(frozen=True, eq=False)
class SeparableBlur:
    """Correlates rows and columns with the same symmetric `taps` (2r+1,).

    The border is mirrored without repeating the edge, which needs r < side. Reproduces the Gaussian blur of DPS,
    ReSample and LD-SMC, whose 61x61 kernel is the outer product of these taps.
    """

    taps: Tensor
    linear: ClassVar[bool] = True

    def __call__(self, x: Tensor) -> Tensor:
        return self._rows(self._rows(x).mT).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return self._rows_adjoint(self._rows_adjoint(y).mT).mT

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.taps.to(device, dtype))

    def _rows(self, x: Tensor) -> Tensor:
        return mirror.correlate(mirror.pad(x, len(self.taps) // 2, repeat_edge=False), self.taps)

    def _rows_adjoint(self, y: Tensor) -> Tensor:
        return mirror.fold(mirror.spread(y, self.taps), len(self.taps) // 2, repeat_edge=False)


@dataclass(frozen=True, eq=False)
class Blur:
    """Correlates each image with a kernel of its own, `kernels` (B,k,k), k odd.

    The border is mirrored without repeating the edge, which needs k//2 < side. Like the motion blur of DPS and ReSample
    it correlates, it does not convolve: the kernel is not flipped. Computed by Fourier transform of the padded image:
    the cost hardly depends on k (61 at 256 pixels).
    """

    kernels: Tensor
    linear: ClassVar[bool] = True

    def __call__(self, x: Tensor) -> Tensor:
        padded = self._pad(self._pad(x).mT).mT
        area = padded.shape[-2:]
        product = torch.fft.rfft2(padded) * self._spectrum(area).conj()
        blurred: Tensor = torch.fft.irfft2(product, s=area)
        return blurred[..., : x.shape[-2], : x.shape[-1]]

    def adjoint(self, y: Tensor) -> Tensor:
        margin = 2 * self._radius
        area = torch.Size((y.shape[-2] + margin, y.shape[-1] + margin))
        product = torch.fft.rfft2(y, s=area) * self._spectrum(area)
        padded = torch.fft.irfft2(product, s=area)
        return self._fold(self._fold(padded).mT).mT

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return type(self)(self.kernels[index])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.kernels.to(device, dtype))

    @property
    def _radius(self) -> int:
        return self.kernels.shape[-1] // 2

    def _spectrum(self, area: torch.Size) -> Tensor:
        spectrum: Tensor = torch.fft.rfft2(self.kernels, s=area)
        return spectrum.unsqueeze(1)  # the same for all channels

    def _pad(self, x: Tensor) -> Tensor:
        return mirror.pad(x, self._radius, repeat_edge=False)

    def _fold(self, y: Tensor) -> Tensor:
        return mirror.fold(y, self._radius, repeat_edge=False)

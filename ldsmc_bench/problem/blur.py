"""Blurs with reflected borders: one symmetric separable filter for all images, or a kernel of its own for each."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from ldsmc_bench.problem import mirror
from ldsmc_bench.problem.conjugate_gradients import solve
from ldsmc_bench.problem.cosine import dct1

# The share of a frequency's amplitude under which pinv takes it for lost: what passes is amplified 33 times at most,
# as in DDRM, which drops singular values below 0.03.
LOST = 0.03


@dataclass(frozen=True, eq=False)
class SeparableBlur:
    """Correlates rows and columns with the same symmetric `taps` (2r+1,).

    The border is mirrored without repeating the edge, which needs r < side. Reproduces the Gaussian blur of DPS,
    ReSample and LD-SMC, whose 61x61 kernel is the outer product of these taps.
    """

    taps: Tensor
    linear: ClassVar[bool] = True
    _spectra: dict[int, Tensor] = field(default_factory=dict, repr=False)  # by the number of samples of an axis

    def __call__(self, x: Tensor) -> Tensor:
        return self._rows(self._rows(x).mT).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return self._rows_adjoint(self._rows_adjoint(y).mT).mT

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """Divides in the cosines of type 1, where the mirror makes A diagonal: by G + delta / G for a gain G.

        With `delta` = 0, frequencies of |G| <= LOST are left out, and A(pinv(y)) = y for a y made of the others. In
        the inner product that counts the border half, which makes A symmetric, this is the least-squares solution.
        """
        rows, columns = (dct1(size, y.device, y.dtype) for size in y.shape[-2:])
        gain = torch.outer(self._spectrum(y.shape[-2]), self._spectrum(y.shape[-1]))
        inverse = gain / (gain**2 + delta) if delta > 0 else torch.where(gain.abs() > LOST, 1 / gain, 0.0)
        return rows @ (inverse * (rows @ y @ columns.mT)) @ columns.mT

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.taps.to(device, dtype))

    def _spectrum(self, size: int) -> Tensor:
        """The gains (size,) of the cosines of an axis."""
        if size not in self._spectra:
            taps = self.taps.double()
            radius = len(taps) // 2
            offset = torch.arange(-radius, radius + 1, device=taps.device, dtype=torch.float64)
            k = torch.arange(size, device=taps.device, dtype=torch.float64)
            phases = math.pi / max(size - 1, 1) * torch.outer(k, offset)
            self._spectra[size] = (torch.cos(phases) @ taps).to(self.taps.dtype)
        return self._spectra[size]

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
    _spectra: dict[torch.Size, Tensor] = field(default_factory=dict, repr=False)  # by the padded area

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

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """(A^T A + delta)^-1 A^T y by 50 conjugate gradients: to 1e-4 for `delta` = 0.01, to some percent for LOST^2.

        `delta` = 0 stands for LOST^2, as A has no usable inverse.
        """
        strength = delta if delta > 0 else LOST**2
        return solve(lambda x: self.adjoint(self(x)) + strength * x, self.adjoint(y))

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
        if area not in self._spectra:
            self._spectra[area] = torch.fft.rfft2(self.kernels, s=area).unsqueeze(1)  # the same for all channels
        return self._spectra[area]

    def _pad(self, x: Tensor) -> Tensor:
        return mirror.pad(x, self._radius, repeat_edge=False)

    def _fold(self, y: Tensor) -> Tensor:
        return mirror.fold(y, self._radius, repeat_edge=False)

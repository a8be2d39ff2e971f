"""Blur with a kernel of its own for each image, and reflected or circular borders."""

from dataclasses import dataclass, field
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ldsmc_bench.problem import filters
from ldsmc_bench.problem.conjugate_gradients import solve
from ldsmc_bench.problem.operators import SharedOperator
from ldsmc_bench.problem.separable import LOST
from ldsmc_bench.problem.spectral import Spectral, filtered, of_frequencies


@dataclass(frozen=True, eq=False)
class Blur(SharedOperator):
    """Correlate each image with a kernel of its own, `kernels` (B,k,k), k odd.

    The border is mirrored without repeating the edge, which needs k//2 < side. Like the motion blur of DPS and ReSample
    it correlates, it does not convolve: the kernel is not flipped. Computed by Fourier transform of the padded image:
    the cost hardly depends on k (61 at 256 pixels).
    """

    kernels: Tensor
    _spectra: dict[torch.Size, Tensor] = field(default_factory=dict, init=False, repr=False)  # by the padded area

    def __call__(self, x: Tensor) -> Tensor:
        padded = self._pad(self._pad(x).mT).mT
        area = padded.shape[-2:]
        blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * self._spectrum(area).conj(), s=area)
        return blurred[..., : x.shape[-2], : x.shape[-1]]

    def adjoint(self, y: Tensor) -> Tensor:
        area = torch.Size(side + 2 * self._radius for side in y.shape[-2:])
        padded = torch.fft.irfft2(torch.fft.rfft2(y, s=area) * self._spectrum(area), s=area)
        return self._fold(self._fold(padded).mT).mT

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """(A^T A + delta)^-1 A^T y by 50 conjugate gradients: to 1e-4 for `delta` = 0.01, to some percent for LOST^2.

        `delta` = 0 means LOST^2, as A has no usable inverse.
        """
        strength = delta if delta > 0 else LOST**2
        return solve(lambda x: self.adjoint(self(x)) + strength * x, self.adjoint(y))

    def select(self, index: Tensor) -> Self:
        return type(self)(self.kernels[index])

    @property
    def _radius(self) -> int:
        return self.kernels.shape[-1] // 2

    def _spectrum(self, area: torch.Size) -> Tensor:
        if area not in self._spectra:
            self._spectra[area] = torch.fft.rfft2(self.kernels, s=area).unsqueeze(1)  # the same for all channels
        return self._spectra[area]

    def _pad(self, x: Tensor) -> Tensor:
        return filters.pad(x, self._radius, repeat_edge=False)

    def _fold(self, y: Tensor) -> Tensor:
        return filters.fold(y, self._radius, repeat_edge=False)


@dataclass(frozen=True, eq=False)
class CircularBlur(SharedOperator):
    """Correlate each image with a kernel of its own, `kernels` (B,k,k), k odd and at most the side, as if the image
    went on from its opposite border. It only scales and shifts frequencies."""

    kernels: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return filtered(x, self._gain(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return filtered(y, self._gain(y).conj())

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """Divide frequency by frequency; with `delta` = 0, those of a gain of at most LOST are left out."""
        gain = self._gain(y)
        power = gain.abs().square()
        share = 1 / (power + delta) if delta > 0 else torch.where(power > LOST**2, 1 / power, 0.0)
        return filtered(y, share * gain.conj())

    def spectral(self, like: Tensor) -> Spectral:
        return of_frequencies(self._gain(like), like.shape[-3:])

    def select(self, index: Tensor) -> Self:
        return type(self)(self.kernels[index])

    def _gain(self, x: Tensor) -> Tensor:
        """The factor of each frequency of x, (B,1,H,W)."""
        size, (height, width) = self.kernels.shape[-1], x.shape[-2:]
        centred = F.pad(self.kernels, (0, width - size, 0, height - size)).roll((-(size // 2),) * 2, dims=(-2, -1))
        return torch.fft.fft2(centred)[:, None].conj()

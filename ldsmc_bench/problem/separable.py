"""Blur and reduction by one symmetric filter along rows and columns, the same for all images, with mirrored borders."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ldsmc_bench.problem import filters
from ldsmc_bench.problem.filters import dct1, dct2
from ldsmc_bench.problem.operators import SharedOperator
from ldsmc_bench.problem.spectral import Spectral, of_axes

# The share of a frequency's amplitude under which a blur's pinv takes it for lost: what passes is amplified 33 times at
# most, as in DDRM, which drops singular values below 0.03.
LOST = 0.03


@dataclass(frozen=True, eq=False)
class Separable(SharedOperator):
    """Each row, then each column, is mirrored and correlated with the taps (k,) at every `scale`-th position."""

    taps: Tensor
    scale: int = 1
    _spectra: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)  # by the length of an axis
    repeat_edge: ClassVar[bool]  # mirrors about the border between two samples, or about the outermost sample

    def __call__(self, x: Tensor) -> Tensor:
        return self._reduce(self._reduce(x).mT).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return self._enlarge(self._enlarge(y).mT).mT

    def spectral(self, like: Tensor) -> Spectral:
        exact = type(self)(self.taps.double().cpu(), self.scale)
        pulses = (torch.eye(size, dtype=torch.float64) for size in like.shape[-2:])
        rows, columns = (exact._reduce(axis[None, None])[0, 0].mT for axis in pulses)
        return of_axes(rows, columns, like)

    def _reduce(self, x: Tensor) -> Tensor:
        return filters.correlate(filters.pad(x, self._radius, repeat_edge=self.repeat_edge), self.taps, self.scale)

    def _enlarge(self, y: Tensor) -> Tensor:
        return filters.fold(filters.spread(y, self.taps, self.scale), self._radius, repeat_edge=self.repeat_edge)

    @property
    def _radius(self) -> int:
        return (len(self.taps) - self.scale) // 2

    def _gain(self, y: Tensor) -> Tensor:
        """The gains of the cosines in which the mirror makes A, or A A^T, diagonal."""
        for size in y.shape[-2:]:
            if size not in self._spectra:
                self._spectra[size] = self._spectrum(size).to(self.taps.dtype)
        return torch.outer(*(self._spectra[size] for size in y.shape[-2:]))

    def _spectrum(self, size: int) -> Tensor:
        """The gains (size,) of the cosines of an axis, float64."""
        raise NotImplementedError


class SeparableBlur(Separable):
    """Correlate rows and columns with the same symmetric `taps` (2r+1,), r < side.

    Reproduces the Gaussian blur of DPS, ReSample and LD-SMC, whose 61x61 kernel is the outer product of these taps.
    """

    repeat_edge: ClassVar[bool] = False

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """Divide in the cosines of type 1, where the mirror makes A diagonal: by G + delta / G for a gain G.

        With `delta` = 0, frequencies of |G| <= LOST are left out, and A(pinv(y)) = y for a y of the others. In
        the inner product that counts the border half, which makes A symmetric, this is the least-squares solution.
        """
        rows, columns = (dct1(size, y.device, y.dtype) for size in y.shape[-2:])
        gain = self._gain(y)
        inverse = gain / (gain**2 + delta) if delta > 0 else torch.where(gain.abs() > LOST, 1 / gain, 0.0)
        return rows @ (inverse * (rows @ y @ columns.mT)) @ columns.mT

    def _spectrum(self, size: int) -> Tensor:
        taps = self.taps.double()
        offset = torch.arange(-self._radius, self._radius + 1, device=taps.device, dtype=torch.float64)
        k = torch.arange(size, device=taps.device, dtype=torch.float64)
        return torch.cos(math.pi / max(size - 1, 1) * torch.outer(k, offset)) @ taps


class SuperResolution(Separable):
    """Reduce (B,3,H,W) to (B,3,H/scale,W/scale) with the `taps` of `bicubic_taps(scale)`.

    This is the operator of DPS, PSLD, ReSample (x4) and LD-SMC (x8), which all use one antialiased cubic resizer with
    that border; torch's own antialiased `interpolate` agrees with it inside but not in the outermost two rows and
    columns.
    """

    repeat_edge: ClassVar[bool] = True

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """A^T (A A^T + delta)^-1 y: the mirror makes A A^T diagonal in the cosines, and it is well conditioned."""
        rows, columns = (dct2(size, y.device, y.dtype) for size in y.shape[-2:])
        frequencies = rows @ y @ columns.mT / (self._gain(y) + delta)
        return self.adjoint(rows.mT @ frequencies @ columns)

    def _spectrum(self, size: int) -> Tensor:
        """The eigenvalues of R R^T, the cosines of type 2 its eigenvectors, for R the reduction to `size`."""
        exact = type(self)(self.taps.double(), self.scale)
        cosines = dct2(size, self.taps.device, torch.float64)
        return (cosines * exact._reduce(exact._enlarge(cosines[None, None]))[0, 0]).sum(dim=1)


def bicubic_taps(scale: int) -> Tensor:
    """Keys' cubic (a = -1/2) stretched by `scale` against aliasing, normalised to sum 1, float64.

    They lie symmetrically about the centre of an output pixel: 4 scale taps for an even scale, where that centre falls
    between two input pixels, and 4 scale - 1 for an odd one.
    """
    count = 4 * scale - scale % 2
    distance = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2).abs() / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance <= 1, near, far)
    return weights / weights.sum()

"""Super-resolution: an antialiased bicubic reduction by a whole factor, with its adjoint and pseudo-inverse."""

from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from ldsmc_bench.problem import mirror
from ldsmc_bench.problem.cosine import dct2


@dataclass(frozen=True, eq=False)
class SuperResolution:
    """Reduces (B,3,H,W) to (B,3,H/scale,W/scale) with the `taps` of `bicubic_taps(scale)`.

    Each row, then each column, is mirrored with its edge repeated and correlated with the taps at every scale-th
    position. This is the operator of DPS, PSLD, ReSample (x4) and LD-SMC (x8), which all use one antialiased cubic
    resizer with that border; torch's own antialiased `interpolate` agrees with it inside but not in the outermost two
    rows and columns.
    """

    scale: int
    taps: Tensor
    linear: ClassVar[bool] = True
    _spectra: dict[int, Tensor] = field(default_factory=dict, repr=False)  # by the number of samples of an axis

    def __call__(self, x: Tensor) -> Tensor:
        return self._reduce(self._reduce(x).mT).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return self._enlarge(self._enlarge(y).mT).mT

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        """A^T (A A^T + delta)^-1 y: the mirror makes A A^T diagonal in the cosines, and it is well conditioned."""
        rows, columns = (dct2(size, y.device, y.dtype) for size in y.shape[-2:])
        gain = torch.outer(self._spectrum(y.shape[-2]), self._spectrum(y.shape[-1]))
        frequencies = rows @ y @ columns.mT / (gain + delta)
        return self.adjoint(rows.mT @ frequencies @ columns)

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.scale, self.taps.to(device, dtype))

    @property
    def _radius(self) -> int:
        return (len(self.taps) - self.scale) // 2

    def _reduce(self, x: Tensor) -> Tensor:
        return mirror.correlate(mirror.pad(x, self._radius, repeat_edge=True), self.taps, self.scale)

    def _enlarge(self, y: Tensor) -> Tensor:
        return mirror.fold(mirror.spread(y, self.taps, self.scale), self._radius, repeat_edge=True)

    def _spectrum(self, size: int) -> Tensor:
        """The eigenvalues (size,) of R R^T, the cosines of type 2 its eigenvectors, for R the reduction to `size`."""
        if size not in self._spectra:
            exact = type(self)(self.scale, self.taps.double())
            cosines = dct2(size, self.taps.device, torch.float64)
            images = exact._reduce(exact._enlarge(cosines[None, None]))[0, 0]
            self._spectra[size] = (cosines * images).sum(dim=1).to(self.taps.dtype)
        return self._spectra[size]


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

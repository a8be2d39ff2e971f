"""What is measured: y = A(x) + noise_std * n, or photons counted, one row an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.nonlinear import PhaseRetrieval
from ldsmc_bench.problem.operators import Operator

NOISES = ("gaussian", "poisson")


@dataclass(frozen=True, eq=False)
class Measurement:
    """`y` (B,c,h,w), the operator that made it and the noise's standard deviation, in units of images in [-1,1].

    `noise_std` is what samplers take for the level of Gaussian noise: one for all images, or one each, (B,1,1,1). Of
    Poisson noise, whose level follows the brightness, it is that of mid-grey.
    """

    y: Tensor
    operator: Operator
    noise_std: float | Tensor

    def select(self, index: Tensor) -> Self:
        """The rows `index` (long), repeated or left out as asked."""
        level = self.noise_std[index] if isinstance(self.noise_std, Tensor) else self.noise_std
        return type(self)(self.y[index], self.operator.select(index), level)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        level = self.noise_std.to(device, dtype) if isinstance(self.noise_std, Tensor) else self.noise_std
        return type(self)(self.y.to(device, dtype), self.operator.to(device, dtype), level)


def measure(
    x: Tensor,
    make_operator: Callable[[int, Noise], Operator],
    noise: Noise,
    *,
    noise_std: float,
    noise_in_hole: bool,
    kind: str = "gaussian",
    poisson_rate: float = 1.0,
) -> Measurement:
    """Measures the images `x` (B,3,S,S) in [-1,1], float32 on the CPU, row i being image i of `noise`.

    A row depends on its image, its id and the seed alone, bit for bit: a convolution may round differently in another
    batch, so each image is measured by itself. Noise falls on the pixels that `operator.observed()` names; with
    `noise_in_hole` on all of y, as the public codes of DPS, PSLD, ReSample and LD-SMC have it. `kind`: "gaussian", or
    "poisson" (see `counted`), which has no use for `noise_std`. Raises UserError for a number or a kind that cannot be,
    and for Poisson noise on Fourier magnitudes, which are no brightness.
    """
    operator = make_operator(x.shape[-1], noise)
    _require(operator, noise_std, kind, poisson_rate)
    clean = torch.cat([_one(operator, x, row) for row in range(len(x))])
    if kind == "poisson":
        level: float | Tensor = mid_grey_std(poisson_rate)
        error = counted(clean, noise, poisson_rate) - clean
    else:
        level = noise_std * operator.noise_level if isinstance(operator, Linear) else noise_std
        error = level * noise.normal("measurement", clean.shape[1:])
    observed = operator.observed()
    if observed is not None and not noise_in_hole:
        error = error * observed
    return Measurement(clean + error, operator, level)


def counted(clean: Tensor, noise: Noise, rate: float) -> Tensor:
    """`clean` (B,c,h,w) in [-1,1], its brightness measured in photons, 255 `rate` of them from a white pixel.

    DPS's public code: Poisson counts of the clipped brightness, scaled back and clipped to [-1,1].
    """
    photons = 255 * rate * ((clean.double() + 1) / 2).clamp(0, 1)
    counts = noise.poisson("measurement", photons)
    return (2 * counts / (255 * rate) - 1).clamp(-1, 1).to(clean.dtype)


def mid_grey_std(rate: float) -> float:
    """The standard deviation of Poisson noise where a pixel is mid-grey: counts of mean and variance 255 `rate` / 2."""
    return 2 * math.sqrt(255 * rate / 2) / (255 * rate)


def _require(operator: Operator, noise_std: object, kind: str, poisson_rate: object) -> None:
    if not (isinstance(noise_std, int | float) and math.isfinite(noise_std) and noise_std >= 0):
        raise UserError(f"task.noise_std={noise_std}: must be a number of at least 0")
    if kind not in NOISES:
        raise UserError(f"task.noise={kind}: must be {' or '.join(NOISES)}")
    if not (isinstance(poisson_rate, int | float) and math.isfinite(poisson_rate) and poisson_rate > 0):
        raise UserError(f"measurement.poisson_rate={poisson_rate}: must be a number above 0")
    if kind == "poisson" and isinstance(operator, PhaseRetrieval):
        raise UserError("task.noise=poisson: phase retrieval measures magnitudes, not brightness; use gaussian")


def _one(operator: Operator, x: Tensor, row: int) -> Tensor:
    """A(x) of one row, from memory laid out alike whatever the batch."""
    image = x[row : row + 1].clone(memory_format=torch.contiguous_format)
    return operator.select(torch.tensor([row]))(image)

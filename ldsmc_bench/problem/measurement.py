"""Measurements: y = A(x) + noise_std * n, or counts of photons, one row an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.operators import Operator, PhaseRetrieval

NOISES = ("gaussian", "poisson")


@dataclass(frozen=True, eq=False)
class Measurement:
    """`y` (B,c,h,w), its operator and the noise's standard deviation, in units of images in [-1,1].

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

    def repeat(self, times: int) -> Self:
        """Every row so many times, one after the other: a row for each of its particles."""
        rows = torch.arange(len(self.y), device=self.y.device)
        return self if times == 1 else self.select(rows.repeat_interleave(times))

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
    """Measure the images `x` (B,3,S,S) in [-1,1], float32 on the CPU, row i being image i of `noise`.

    A row depends on its image, its id and the seed alone, bit for bit: a convolution may round differently in another
    batch, so each image is measured by itself. Noise falls on the pixels that `operator.observed()` names; with
    `noise_in_hole` on all of y, as the public codes of DPS, PSLD, ReSample and LD-SMC have it. `kind`: "gaussian", or
    "poisson" (`count_photons`), which has no use for `noise_std`; UserError is raised for that on Fourier magnitudes.
    """
    operator = make_operator(x.shape[-1], noise)
    if kind == "poisson" and isinstance(operator, PhaseRetrieval):
        raise UserError("task.noise=poisson: phase retrieval measures magnitudes, not brightness; use gaussian")
    images = [image.clone(memory_format=torch.contiguous_format) for image in x.split(1)]  # whatever the batch's layout
    clean = torch.cat([operator.select(torch.tensor([row]))(image) for row, image in enumerate(images)])
    if kind == "poisson":
        level: float | Tensor = 2 * math.sqrt(255 * poisson_rate / 2) / (255 * poisson_rate)  # of mid-grey
        error = count_photons(clean, noise, poisson_rate) - clean
    else:
        level = noise_std * operator.noise_level if isinstance(operator, Linear) else noise_std
        error = level * noise.normal("measurement", clean.shape[1:])
    observed = operator.observed()
    if observed is not None and not noise_in_hole:
        error = error * observed
    return Measurement(clean + error, operator, level)


def count_photons(clean: Tensor, noise: Noise, rate: float) -> Tensor:
    """`clean` (B,c,h,w) in [-1,1], its clipped brightness measured in photons, 255 `rate` of them from a white pixel,
    scaled back and clipped to [-1,1], as in DPS's public code."""
    photons = 255 * rate * ((clean.double() + 1) / 2).clamp(0, 1)
    counts = noise.poisson("measurement", photons)
    return (2 * counts / (255 * rate) - 1).clamp(-1, 1).to(clean.dtype)

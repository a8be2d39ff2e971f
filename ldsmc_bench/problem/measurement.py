"""Measurements: y = A(x) + noise_std * n, or counts of photons, one row an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.operators import Operator

NOISES = ("gaussian", "uniform", "poisson", "salt_and_pepper")
OF_BRIGHTNESS = ("poisson", "salt_and_pepper")  # and of nothing else


@dataclass(frozen=True, eq=False)
class Measurement:
    """`y` (B,c,h,w), its operator and the noise's standard deviation, in units of images in [-1,1].

    `noise_std` is what samplers take for the level of Gaussian noise: one for all images, or one each, (B,1,1,1). Of
    noise whose level follows the brightness, Poisson's and salt and pepper, it is that of mid-grey.
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
    make_operator: Callable[[Any, Noise], Operator],
    noise: Noise,
    *,
    noise_std: float,
    noise_in_hole: bool,
    kind: str = "gaussian",
    poisson_rate: float = 1.0,
) -> Measurement:
    """Measure the images `x` (B,C,H,W) in [-1,1], float32 on the CPU, row i being image i of `noise`.

    A row depends on its image, its id and the seed alone, bit for bit: a convolution may round differently in another
    batch, so each image is measured by itself. Noise falls on the pixels that `operator.observed()` names; with
    `noise_in_hole` on all of y, as the public codes of DPS, PSLD, ReSample and LD-SMC have it. `kind`: "gaussian";
    "uniform" of the same standard deviation; "salt_and_pepper" (`blacken_and_whiten`); or "poisson" (`count_photons`),
    which has no use for `noise_std`. UserError is raised for the last two where y is no brightness.
    """
    height, width = x.shape[-2:]
    operator = make_operator(width if height == width else (height, width), noise)
    if missing := [one for one in ("linear", "adjoint", "observed", "select", "to") if not hasattr(operator, one)]:
        raise UserError(f"task.operator: gives {type(operator).__name__}, without {', '.join(missing)}; add these")
    if kind in OF_BRIGHTNESS and not getattr(operator, "brightness", True):
        raise UserError(f"task.noise={kind}: this task does not measure brightness in [-1,1]; use gaussian")
    images = [image.clone(memory_format=torch.contiguous_format) for image in x.split(1)]  # whatever the batch's layout
    clean = torch.cat([operator.select(torch.tensor([row]))(image) for row, image in enumerate(images)])
    if clean.ndim != 4 or len(clean) != len(x) or not clean.is_floating_point():
        found = f"{clean.dtype} {tuple(clean.shape)}"
        raise UserError(f"task.operator: must give real (B,c,h,w), a row an image; of {len(x)} images it is {found}")
    level: float | Tensor = noise_std * operator.noise_level if isinstance(operator, Linear) else noise_std
    if kind == "poisson":
        level = 2 * math.sqrt(255 * poisson_rate / 2) / (255 * poisson_rate)  # of mid-grey
        error = count_photons(clean, noise, poisson_rate) - clean
    elif kind == "salt_and_pepper":
        error = blacken_and_whiten(clean, noise, noise_std) - clean
    elif kind == "uniform":
        error = level * (12**0.5 * (noise.uniform("measurement", clean.shape[1:]) - 0.5)).to(clean)
    else:
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


def blacken_and_whiten(clean: Tensor, noise: Noise, level: float) -> Tensor:
    """`clean` (B,c,h,w) with a share `level`^2 of its entries at -1 or 1, either as often: for mid-grey the error's
    standard deviation is `level`. Raises UserError for a share above 1."""
    if (share := level**2) > 1:
        raise UserError(f"task.noise_std={level}: its square is the share of salt_and_pepper; at most 1")
    drawn = noise.uniform("measurement", clean.shape[1:])
    return torch.where(drawn < share, torch.where(drawn < share / 2, -1.0, 1.0), clean)

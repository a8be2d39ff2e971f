"""What is measured: y = A(x) + noise_std * n, one row an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.operators import Operator


@dataclass(frozen=True, eq=False)
class Measurement:
    """`y` (B,c,h,w), the operator that made it and the noise's standard deviation, in units of images in [-1,1]."""

    y: Tensor
    operator: Operator
    noise_std: float

    def select(self, index: Tensor) -> Self:
        """The rows `index` (long), repeated or left out as asked."""
        return type(self)(self.y[index], self.operator.select(index), self.noise_std)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.y.to(device, dtype), self.operator.to(device, dtype), self.noise_std)


def measure(
    x: Tensor,
    make_operator: Callable[[int, Noise], Operator],
    noise: Noise,
    *,
    noise_std: float,
    noise_in_hole: bool,
) -> Measurement:
    """Measures the images `x` (B,3,S,S) in [-1,1], float32 on the CPU, row i being image i of `noise`.

    A row depends on its image, its id and the seed alone, bit for bit: a convolution may round differently in another
    batch, so each image is measured by itself. Noise falls on the pixels that `operator.observed()` names; with
    `noise_in_hole` on all of y, as the public codes of DPS, PSLD, ReSample and LD-SMC have it. Raises UserError for a
    noise_std that is not a number >= 0.
    """
    if not (isinstance(noise_std, int | float) and math.isfinite(noise_std) and noise_std >= 0):
        raise UserError(f"task.noise_std={noise_std}: must be a number of at least 0")
    operator = make_operator(x.shape[-1], noise)
    clean = torch.cat([_one(operator, x, row) for row in range(len(x))])
    error = noise_std * noise.normal("measurement", clean.shape[1:])
    observed = operator.observed()
    if observed is not None and not noise_in_hole:
        error = error * observed
    return Measurement(clean + error, operator, noise_std)


def _one(operator: Operator, x: Tensor, row: int) -> Tensor:
    """A(x) of one row, from memory laid out alike whatever the batch."""
    image = x[row : row + 1].clone(memory_format=torch.contiguous_format)
    return operator.select(torch.tensor([row]))(image)

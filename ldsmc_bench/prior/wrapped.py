"""A prior around another: what passes on all that is asked of it, for those that add something."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior


@dataclass(frozen=True)
class Wrapped:
    """Looks like `prior` to a sampler, and does what it does."""

    prior: Prior

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.prior.shape

    @property
    def image_size(self) -> int:
        return self.prior.image_size

    @property
    def alpha_bar(self) -> Tensor:
        return self.prior.alpha_bar

    @property
    def digest(self) -> str:
        return self.prior.digest

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, prior=self.prior.to(device, dtype))

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return replace(self, prior=self.prior.conditioned(labels))

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.prior.eps(z, t)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.prior.eps_and_variance(z, t)

    def encode(self, x: Tensor) -> Tensor:
        return self.prior.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.prior.decode(z)

"""Colorization: a grey picture is all that is measured."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Grey:
    """The weighted mean of the channels, (B,3,H,W) -> (B,1,H,W); `weights` (3,)."""

    weights: Tensor
    linear: ClassVar[bool] = True

    def __call__(self, x: Tensor) -> Tensor:
        return (self._channels * x).sum(dim=1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._channels * y

    def pinv(self, y: Tensor, delta: float = 0.0) -> Tensor:
        return self.adjoint(y) / (self.weights.square().sum() + delta)

    def observed(self) -> None:
        return None

    def select(self, index: Tensor) -> Self:
        return self

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        return type(self)(self.weights.to(device, dtype))

    @property
    def _channels(self) -> Tensor:
        return self.weights.reshape(1, -1, 1, 1)

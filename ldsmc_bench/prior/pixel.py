"""Pixel priors: a denoiser of images, with the identity as its codec."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from ldsmc_bench.prior.codec import place_network
from ldsmc_bench.problem.pictures import sides


@dataclass(frozen=True)
class PixelPrior:
    """A diffusion model of images (R,C,H,W) in [-1,1]; `unet(x, t)` gives the noise, and with twice C channels also the
    learned interpolation of the variance, in [-1,1]."""

    unet: nn.Module
    alpha_bar: Tensor
    image_size: int | tuple[int, int]
    digest: str
    channels: int = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, *sides(self.image_size))

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, unet=place_network(self.unet, device, dtype))

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.eps_and_variance(z, t)[0]

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.unet(z.to(next(self.unet.parameters()).dtype), t)
        out = (out if isinstance(out, Tensor) else out.sample).to(z.dtype)
        c = self.channels
        return out[:, :c], (out[:, c:] + 1) / 2 if out.shape[1] > c else None

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z

"""Pixel priors: a denoiser of images, with the identity as its codec."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from ldsmc_bench.prior.codec import place_network


@dataclass(frozen=True)
class PixelPrior:
    """A diffusion model of images (R,3,S,S) in [-1,1]; `unet(x, t)` gives the noise, and with six channels also the
    learned interpolation of the variance, in [-1,1]."""

    unet: nn.Module
    alpha_bar: Tensor
    image_size: int
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.image_size, self.image_size)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, unet=place_network(self.unet, device, dtype))

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.eps_and_variance(z, t)[0]

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.unet(z.to(next(self.unet.parameters()).dtype), t)
        out = (out if isinstance(out, Tensor) else out.sample).to(z.dtype)
        return out[:, :3], (out[:, 3:] + 1) / 2 if out.shape[1] > 3 else None

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z

"""Pixel priors: a denoiser of images, with the identity as its codec."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ldsmc_bench.prior import adm_unet, guided_diffusion, networks, schedule
from ldsmc_bench.prior.assets import ASSETS, digest, load
from ldsmc_bench.prior.cache import known_digest
from ldsmc_bench.prior.codec import placed
from ldsmc_bench.prior.published import expect_size, expect_switches, folder_of, holding
from ldsmc_bench.prior.random_weights import marked, randomised, warn


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
        return replace(self, unet=placed(self.unet, device, dtype))

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


def toyfaces() -> PixelPrior:
    """The embedded prior: drawn faces at 64x64, trained by `python -m ldsmc_bench.prior.train pixel`."""
    path = ASSETS / "toyfaces_pixel.safetensors"
    return PixelPrior(load(networks.PixelUNet(), path), schedule.linear(), 64, digest(path))


def adm(name: str, image_size: int, path: str | None, published: str, random_weights: bool = False) -> PixelPrior:
    """A guided-diffusion model (Dhariwal and Nichol 2021) without classes, variance learned where its config says so.

    `path` is the folder with the file called `published`, or with any model and the `model_config.yaml` that describes
    it; None for the folder where the fetch command puts it. `random_weights`: the same network without any file,
    announced on stderr and never scored.
    Raises UserError where the checkpoint is absent or is not this prior's, or its images are not of `image_size`.
    """
    expect_switches(random_weights=random_weights)
    folder = folder_of(name, path)
    if not random_weights:
        holding(folder, name, published, "model_config.yaml")
    file, model = guided_diffusion.described(folder, published)
    expect_size(image_size, model.image_size, folder)
    if random_weights:
        warn(name)
        unet, learned = randomised(lambda: adm_unet.build(model.unet)), marked(model)
    else:
        unet, learned = guided_diffusion.read(file, model), _digest(file, model)
    return PixelPrior(unet, model.alpha_bar(), image_size, learned)


def _digest(file: Path, model: guided_diffusion.Model) -> str:
    return hashlib.sha256(f"{known_digest(file)} {model}".encode()).hexdigest()

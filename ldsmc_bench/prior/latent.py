"""The latent prior: a noise-predicting UNet in the latent space of a VQ autoencoder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from ldsmc_bench.prior import networks, schedule
from ldsmc_bench.prior.assets import ASSETS, digest, load, made
from ldsmc_bench.prior.codec import VqCodec, placed


@dataclass(frozen=True)
class LatentPrior:
    """A latent diffusion model (Rombach et al. 2022) with a VQ first stage; `scale` multiplies the encoder's output."""

    unet: UNet2DModel
    vq: VQModel
    codebook: Tensor  # (K,C); apart from `vq`, since it keeps full precision where the networks do not
    alpha_bar: Tensor
    scale: float
    shape: tuple[int, int, int]
    image_size: int
    digest: str

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same prior with its networks on `device` in `dtype`; the codebook stays at float32 or better."""
        return replace(
            self,
            unet=placed(self.unet, device, dtype),
            vq=placed(self.vq, device, dtype),
            codebook=self.codebook.to(device, torch.promote_types(dtype, torch.float32)),
        )

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.unet(z.to(self.unet.dtype), t, return_dict=False)[0].to(z.dtype)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    @property
    def codec(self) -> VqCodec:
        return VqCodec(self.vq, self.codebook, self.scale)

    def encode(self, x: Tensor) -> Tensor:
        return self.codec.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Quantises first, with the straight-through gradient, as every decode of the public samplers does."""
        return self.codec.decode(z)


def toyfaces() -> LatentPrior:
    """The embedded prior: drawn faces at 64x64, trained by `python -m ldsmc_bench.prior.train`."""
    vq, scale = toyfaces_autoencoder()
    unet = load(networks.latent_unet(), ASSETS / "toyfaces_latent.safetensors")
    files = [ASSETS / f"toyfaces_{name}.safetensors" for name in ("autoencoder", "latent")]
    return LatentPrior(
        unet=unet,
        vq=vq,
        codebook=vq.quantize.embedding.weight.detach().clone(),
        alpha_bar=schedule.scaled_linear(),
        scale=scale,
        shape=(3, 16, 16),
        image_size=64,
        digest=hashlib.sha256("".join(map(digest, files)).encode()).hexdigest(),
    )


def toyfaces_autoencoder() -> tuple[VQModel, float]:
    """The embedded VQ-f4 autoencoder and its latent scale."""
    path = ASSETS / "toyfaces_autoencoder.safetensors"
    return load(networks.autoencoder(), path), float(made(path)["scale"])

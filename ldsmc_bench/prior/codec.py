"""First stages of latent diffusion: images to latents and back, at the scale that the diffusion model works in."""

from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor, nn

from ldsmc_bench.prior import networks

M = TypeVar("M", bound=nn.Module)


class Codec(Protocol):
    """What a latent prior needs of its first stage."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same codec, its network on `device` in `dtype`."""

    def encode(self, x: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1,1] to latents (B,C,h,w). Deterministic."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents to images, about [-1,1], not clipped; differentiable."""


@dataclass(frozen=True)
class VqCodec:
    """Quantises to the nearest codes, with the straight-through gradient, before it decodes; never when it encodes."""

    network: VQModel
    codebook: Tensor  # (K,C); apart from the network, since it keeps full precision where that does not
    scale: float

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        precise = torch.promote_types(dtype, torch.float32)
        return replace(self, network=placed(self.network, device, dtype), codebook=self.codebook.to(device, precise))

    def encode(self, x: Tensor) -> Tensor:
        return self.network.encode(x.to(self.network.dtype), return_dict=False)[0].to(x.dtype) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        latent = networks.quantise(self.codebook, z / self.scale).to(self.network.dtype)
        # `network.decode` itself makes a loss of zeros on the CPU and sends it to the device, which then is waited for
        return self.network.decoder(self.network.post_quant_conv(latent)).to(z.dtype)


@dataclass(frozen=True)
class KlCodec:
    """Encodes to a Gaussian, whose mean is the latent: CompVis' code draws from it, and here nothing is random."""

    network: AutoencoderKL
    scale: float

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, network=placed(self.network, device, dtype))

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The posterior's mean, times the scale; with standard normal `noise` (B,C,h,w), a draw from the posterior, as
        CompVis' `get_first_stage_encoding` makes it."""
        posterior = self.network.encode(x.to(self.network.dtype), return_dict=False)[0]
        latent = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(posterior.std)
        return latent.to(x.dtype) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        return self.network.decode((z / self.scale).to(self.network.dtype), return_dict=False)[0].to(z.dtype)


def placed(network: M, device: torch.device, dtype: torch.dtype) -> M:
    """The network on `device` in `dtype`, in the memory layout that convolutions are fastest in."""
    return nn.Module.to(network, device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

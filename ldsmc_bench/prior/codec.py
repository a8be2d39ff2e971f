"""First stages of latent diffusion: images to latents and back, at the scale that the diffusion model works in.

`encode` takes images (B,3,H,W) in [-1,1] and is deterministic; `decode` gives images about [-1,1], not clipped, and is
differentiable.
"""

import math
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class VqCodec:
    """Quantises to the nearest codes, with the straight-through gradient, before it decodes; never when it encodes."""

    network: VQModel
    codebook: Tensor  # (K,C); apart from the network, since it keeps full precision where that does not
    scale: float

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        codebook = self.codebook.to(device, torch.promote_types(dtype, torch.float32))
        return replace(self, network=place_network(self.network, device, dtype), codebook=codebook)

    def encode(self, x: Tensor) -> Tensor:
        return self.network.encode(x.to(self.network.dtype), return_dict=False)[0].to(x.dtype) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        latent = quantise(self.codebook, z / self.scale).to(self.network.dtype)
        # `network.decode` itself makes a loss of zeros on the CPU and sends it to the device, which then is waited for
        return self.network.decoder(self.network.post_quant_conv(latent)).to(z.dtype)


@dataclass(frozen=True)
class KlCodec:
    """Encodes to the mean of a Gaussian; CompVis' code draws from that Gaussian, and here nothing is random."""

    network: AutoencoderKL
    scale: float

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, network=place_network(self.network, device, dtype))

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The posterior's mean, times the scale; with standard normal `noise` (B,C,h,w), a draw from the posterior, as
        CompVis' `get_first_stage_encoding` makes it."""
        posterior = self.network.encode(x.to(self.network.dtype), return_dict=False)[0]
        latent = posterior.mean if noise is None else posterior.mean + posterior.std * noise.to(posterior.std)
        return latent.to(x.dtype) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        return self.network.decode((z / self.scale).to(self.network.dtype), return_dict=False)[0].to(z.dtype)


Codec = VqCodec | KlCodec


def wrap_autoencoder(network: VQModel | AutoencoderKL, scale: float) -> Codec:
    """The codec of a first stage; `scale` multiplies the encoder's output."""
    if isinstance(network, VQModel):
        return VqCodec(network, network.quantize.embedding.weight.detach().clone(), scale)
    return KlCodec(network, scale)  # type: ignore[arg-type]


def place_network(network: M, device: torch.device, dtype: torch.dtype) -> M:
    """The network on `device` in `dtype`, in the memory layout that convolutions are fastest in."""
    return nn.Module.to(network, device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


def quantise(codebook: Tensor, z: Tensor) -> Tensor:
    """Nearest code of every latent vector with the straight-through gradient; `codebook` (K,d), `z` (B,d,h,w). The
    value keeps the form of CompVis' code, z + (e - z), equal to the code e up to rounding."""
    return z + (codes_of(codebook, z) - z).detach()


def codes_of(codebook: Tensor, z: Tensor) -> Tensor:
    """The nearest code of every vector of `z` (B,d,h,w), with gradient to the codebook."""
    vectors = z.permute(0, 2, 3, 1)
    codes = codebook[nearest_code(codebook, vectors.reshape(-1, vectors.shape[-1]))].reshape(vectors.shape)
    return codes.permute(0, 3, 1, 2)


@torch.no_grad()
def nearest_code(codebook: Tensor, vectors: Tensor) -> Tensor:
    """Index of the nearest code (K,d) for each vector (n,d), the first one of equals. In blocks, so that no full
    distance matrix is held: on a CPU, of a size that stays in its cache."""
    rows = 256 if vectors.device.type == "cpu" else 16384
    with torch.autocast(vectors.device.type, enabled=False):
        half_norm = 0.5 * (codebook * codebook).sum(dim=1)
        blocks = vectors.to(codebook.dtype).split(rows)
        return torch.cat([_argmin(torch.addmm(half_norm, block, codebook.T, alpha=-1)) for block in blocks])


def _argmin(distances: Tensor) -> Tensor:
    """Column of the least entry in each row (n,K), as `argmin`; by groups of columns, since a CPU finds a least value
    20 times as fast as the place of one."""
    groups = distances.unflatten(1, (-1, math.gcd(distances.shape[1], 64)))
    group = groups.amin(dim=2).argmin(dim=1)
    inside = groups[torch.arange(len(groups), device=groups.device), group].argmin(dim=1)
    return group * groups.shape[2] + inside

"""The autoencoders of latent diffusion, on diffusers' VQModel and AutoencoderKL.

References: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", appendix G, after Esser
et al. 2021 (VQGAN). No attention outside the middle block, as in the published VQ-f4 and KL-f8.
"""

import re
from dataclasses import dataclass
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel

from ldsmc_bench.checkpoints.convert import Shape, Source

# Names of layers: patterns of ours, and those of the public code.
_NAMES = (
    (r"(down|up)_blocks\.(\d+)\.resnets", r"\1.\2.block"),
    (r"(down|up)_blocks\.(\d+)\.(down|up)samplers\.0", r"\1.\2.\3sample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_shortcut$", "nin_shortcut"),
    (r"conv_norm_out$", "norm_out"),
    (r"group_norm$", "norm"),
    (r"to_out\.0$", "proj_out"),
    (r"to_(q|k|v)$", r"\1"),
)


@dataclass(frozen=True)
class AutoencoderShape(Shape):
    """The levels of an autoencoder, with or without a codebook."""

    width: int
    mult: tuple[int, ...]
    res_blocks: int
    z_channels: int

    @property
    def halvings(self) -> int:
        return len(self.mult) - 1

    @property
    def latent_channels(self) -> int:
        return self.z_channels

    def settings(self) -> dict[str, Any]:
        """Arguments of diffusers' classes: epsilon 1e-6 in every norm, one attention head, downsampling padded right
        and below only."""
        return {
            "down_block_types": ("DownEncoderBlock2D",) * len(self.mult),
            "up_block_types": ("UpDecoderBlock2D",) * len(self.mult),
            "block_out_channels": tuple(self.width * mult for mult in self.mult),
            "layers_per_block": self.res_blocks,
            "latent_channels": self.z_channels,
            "norm_num_groups": 32,
        }

    def origin(self, key: str) -> Source:
        """The public code counts the decoder's levels, too, from the image side."""
        layer, _, kind = key.rpartition(".")
        layer = re.sub(r"(?<=up_blocks\.)\d+", lambda level: str(self.halvings - int(level[0])), layer)
        for ours, theirs in _NAMES:
            layer = re.sub(ours, theirs, layer)
        return Source(f"{layer}.{kind}")


@dataclass(frozen=True)
class KlShape(AutoencoderShape):
    """An autoencoder whose encoder gives the mean and the logarithm of the variance of a Gaussian."""

    def build(self) -> AutoencoderKL:
        return AutoencoderKL(**self.settings())


@dataclass(frozen=True)
class VqShape(AutoencoderShape):
    """An autoencoder whose decoder takes the nearest codes of a codebook."""

    codes: int
    code_channels: int

    @property
    def latent_channels(self) -> int:
        return self.code_channels

    def build(self) -> VQModel:
        return VQModel(
            **self.settings(), vq_embed_dim=self.code_channels, num_vq_embeddings=self.codes, scaling_factor=1.0
        )

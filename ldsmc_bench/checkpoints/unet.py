"""The UNets of guided-diffusion and latent diffusion, on diffusers' UNet2DModel and UNet2DConditionModel.

References: Dhariwal and Nichol 2021, "Diffusion models beat GANs", section 3, and their public `unet.py`; Rombach et
al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.3 and appendix E: a transformer over
the pixels takes the place of plain attention.
"""

import re
from dataclasses import dataclass, replace

from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from ldsmc_bench.checkpoints.convert import Shape, Source

_PARTS = {"to_q": 0, "to_k": 1, "to_v": 2}
# Names of layers outside the blocks and inside them: ours, and those of the public code.
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out.0": "proj_out"}
_INSIDE = {
    "resnets": _RESNET,
    "attentions": _ATTENTION,  # the layers of a transformer have the same names on both sides
    "downsamplers": {**_RESNET, "conv": "op"},
    "upsamplers": _RESNET,
}


@dataclass(frozen=True)
class Levels(Shape):
    """The levels of a UNet, whatever kind of attention is in them."""

    channels_in: int
    channels_out: int
    width: int
    mult: tuple[int, ...]  # width of each level, in units of `width`; the first must be 1
    res_blocks: int
    attention_at: tuple[int, ...]  # levels with attention, as downsampling factors

    @property
    def halvings(self) -> int:
        return len(self.mult) - 1

    def blocks(self, plain: str, attending: str) -> tuple[str, ...]:
        """The name of each level's kind of block."""
        return tuple(attending if 2**level in self.attention_at else plain for level in range(len(self.mult)))

    def origin(self, key: str) -> Source:
        """The public code numbers blocks once down and once up; a level ends with its resampling."""
        layer, _, kind = key.rpartition(".")
        if layer in _ENDS:
            return Source(f"{_ENDS[layer]}.{kind}")
        found = re.fullmatch(r"(\w+)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.+)", layer)
        assert found, f"{key}: no layer of diffusers' UNets"
        half, level, part, number, inside = found.groups()
        i, each = int(number), self.res_blocks + 1
        if half == "mid":
            block = f"middle_block.{1 if part == 'attentions' else 2 * i}"
        elif half == "down":
            at = 1 + int(level) * each + (self.res_blocks if part == "downsamplers" else i)
            block = f"input_blocks.{at}.{int(part == 'attentions')}"
        else:
            attends = 2 ** (self.halvings - int(level)) in self.attention_at
            places = {"resnets": 0, "attentions": 1, "upsamplers": 1 + attends}
            block = (
                f"output_blocks.{int(level) * each + (self.res_blocks if part == 'upsamplers' else i)}.{places[part]}"
            )
        return Source(f"{block}.{_INSIDE[part].get(inside, inside)}.{kind}")


@dataclass(frozen=True)
class UnetShape(Levels):
    """A UNet with plain attention."""

    head_channels: int
    scale_shift: bool = False  # the time embedding scales and shifts the second norm, rather than being added
    resnet_resampling: bool = False  # levels are joined by residual blocks, rather than by convolutions

    def build(self) -> UNet2DModel:
        """Group norm of 32 groups and epsilon 1e-5, SiLU, sinusoidal time embedding with the cosines first."""
        resnet = self.resnet_resampling
        return UNet2DModel(
            in_channels=self.channels_in,
            out_channels=self.channels_out,
            down_block_types=self.blocks("ResnetDownsampleBlock2D" if resnet else "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=self.blocks("ResnetUpsampleBlock2D" if resnet else "UpBlock2D", "AttnUpBlock2D")[::-1],
            block_out_channels=tuple(self.width * mult for mult in self.mult),
            layers_per_block=self.res_blocks,
            attention_head_dim=self.head_channels,
            downsample_type="resnet" if resnet else "conv",
            upsample_type="resnet" if resnet else "conv",
            norm_num_groups=32,
            attn_norm_num_groups=32,
            norm_eps=1e-5,
            resnet_time_scale_shift="scale_shift" if self.scale_shift else "default",
        )

    def origin(self, key: str) -> Source:
        part = _PARTS.get(key.split(".")[-2])  # query, key and value are one tensor of the file
        return replace(super().origin(key), part=part, head_channels=self.head_channels)


@dataclass(frozen=True)
class SpatialUnetShape(Levels):
    """A UNet with cross-attention: maps latents (R,C,h,w), steps (R,) and contexts (R,L,D) to the predicted noise."""

    heads: tuple[int, ...]  # of each level; the middle has those of the last
    context_channels: int
    depth: int = 1  # of each transformer

    def build(self) -> UNet2DConditionModel:
        """Epsilon 1e-5 in group norms but 1e-6 before a transformer, GEGLU feed-forward layers, cosines first."""
        return UNet2DConditionModel(
            in_channels=self.channels_in,
            out_channels=self.channels_out,
            down_block_types=self.blocks("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=self.blocks("UpBlock2D", "CrossAttnUpBlock2D")[::-1],
            block_out_channels=tuple(self.width * mult for mult in self.mult),
            layers_per_block=self.res_blocks,
            attention_head_dim=self.heads,  # diffusers' misnomer for the number of heads
            transformer_layers_per_block=self.depth,
            cross_attention_dim=self.context_channels,
            norm_num_groups=32,
            norm_eps=1e-5,
        )

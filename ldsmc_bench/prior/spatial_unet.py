"""The UNet with cross-attention of conditional latent diffusion, on diffusers' UNet2DConditionModel.

Architecture: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.3 and
appendix E: the UNet of guided-diffusion, where a transformer over the pixels takes the place of plain attention.
"""

from collections.abc import Callable
from dataclasses import dataclass

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.adm_unet import Levels, layers
from ldsmc_bench.prior.foreign_config import ForeignConfig
from ldsmc_bench.prior.transplant import Origin

_TARGET = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
_WITHOUT_BIAS = (".to_q", ".to_k", ".to_v")


@dataclass(frozen=True)
class SpatialUnetShape(Levels):
    """What the weights of a UNet do not say themselves."""

    heads: tuple[int, ...]  # of each level; the middle has those of the last
    depth: int  # of each transformer
    context_channels: int


def build(shape: SpatialUnetShape) -> UNet2DConditionModel:
    """The network: maps latents (R,C,h,w), steps (R,) and contexts (R,L,D) to the predicted noise (R,C,h,w).

    Epsilon 1e-5 in group norms but 1e-6 before a transformer, gated feed-forward layers (GEGLU), cosines first.
    """
    levels = range(len(shape.mult))
    down = tuple("CrossAttnDownBlock2D" if shape.attends(level) else "DownBlock2D" for level in levels)
    up = tuple("CrossAttnUpBlock2D" if shape.attends(level) else "UpBlock2D" for level in reversed(levels))
    return UNet2DConditionModel(
        in_channels=shape.channels_in,
        out_channels=shape.channels_out,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=tuple(shape.width * mult for mult in shape.mult),
        layers_per_block=shape.res_blocks,
        attention_head_dim=shape.heads,  # diffusers' misnomer for the number of heads
        transformer_layers_per_block=shape.depth,
        cross_attention_dim=shape.context_channels,
        norm_num_groups=32,
        norm_eps=1e-5,
    )


def origins(shape: SpatialUnetShape, file_key: Callable[[str], str]) -> dict[str, Origin]:
    """Origin of each parameter of `build(shape)`; `file_key` turns the UNet's own key into that of the file."""
    return {
        f"{ours}.{kind}": Origin(file_key(f"{theirs}.{kind}"))
        for ours, theirs in layers(shape, _transformer(shape.depth))
        for kind in (("weight",) if ours.endswith(_WITHOUT_BIAS) else ("weight", "bias"))
    }


def _transformer(depth: int) -> dict[str, str]:
    """The layers of a transformer, which diffusers calls what CompVis does."""
    parts = ["norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"]
    parts += [f"attn{i}.{name}" for i in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")]
    names = [f"transformer_blocks.{i}.{part}" for i in range(depth) for part in parts]
    return {name: name for name in ("norm", "proj_in", "proj_out", *names)}


def read_shape(config: ForeignConfig, unet: str = "unet_config") -> SpatialUnetShape:
    """The UNet that a CompVis config describes below the key `unet`.

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    params = f"{unet}.params"
    config.expect(f"{unet}.target", _TARGET)
    config.expect(f"{params}.use_spatial_transformer", True)
    for flag in ("use_scale_shift_norm", "resblock_updown", "use_linear_in_transformer"):
        config.expect(f"{params}.{flag}", False, default=False)
    config.expect(f"{params}.channel_mult[0]", 1)
    width, mult = config.count(f"{params}.model_channels"), config.counts(f"{params}.channel_mult")
    if config.ask(f"{params}.num_head_channels", -1) == -1:
        heads = (config.count(f"{params}.num_heads"),) * len(mult)
    else:
        heads = tuple(width * m // config.count(f"{params}.num_head_channels") for m in mult)
    if any(count < 1 or (width * m) % count for count, m in zip(heads, mult, strict=True)):
        raise UserError(f"{config.path}: {config.root}{params}.num_heads and num_head_channels do not divide the width")
    return SpatialUnetShape(
        channels_in=config.count(f"{params}.in_channels"),
        channels_out=config.count(f"{params}.out_channels"),
        width=width,
        mult=mult,
        res_blocks=config.count(f"{params}.num_res_blocks"),
        attention_at=config.counts(f"{params}.attention_resolutions"),
        heads=heads,
        depth=config.count(f"{params}.transformer_depth", 1),
        context_channels=config.count(f"{params}.context_dim"),
    )

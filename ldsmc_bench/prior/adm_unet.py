"""The UNet of guided-diffusion, which latent diffusion inherited, on diffusers' UNet2DModel.

Architecture: Dhariwal and Nichol 2021, "Diffusion models beat GANs", section 3 and their public `unet.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diffusers.models.unets.unet_2d import UNet2DModel

from ldsmc_bench.prior.transplant import Origin, inside

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out.0": "proj_out"}
_PARTS = {"to_q": 0, "to_k": 1, "to_v": 2}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


@dataclass(frozen=True)
class Levels:
    """The levels of a UNet, whatever kind of attention is in them."""

    channels_in: int
    channels_out: int
    width: int
    mult: tuple[int, ...]  # width of each level, in units of `width`; the first must be 1
    res_blocks: int
    attention_at: tuple[int, ...]  # levels with attention, as downsampling factors

    def attends(self, level: int) -> bool:
        return 2**level in self.attention_at


@dataclass(frozen=True)
class UnetShape(Levels):
    """What the weights of a UNet do not say themselves."""

    head_channels: int
    scale_shift: bool = False  # the time embedding scales and shifts the second norm, rather than being added
    resnet_resampling: bool = False  # levels are joined by residual blocks, rather than by convolutions


def build(shape: UnetShape) -> UNet2DModel:
    """The network: group norm of 32 groups and epsilon 1e-5, SiLU, sinusoidal time embedding with the cosines first."""
    levels = range(len(shape.mult))
    if shape.resnet_resampling:
        resampling, plain_down, plain_up = "resnet", "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"
    else:
        resampling, plain_down, plain_up = "conv", "DownBlock2D", "UpBlock2D"
    return UNet2DModel(
        in_channels=shape.channels_in,
        out_channels=shape.channels_out,
        down_block_types=tuple("AttnDownBlock2D" if shape.attends(level) else plain_down for level in levels),
        up_block_types=tuple("AttnUpBlock2D" if shape.attends(level) else plain_up for level in reversed(levels)),
        block_out_channels=tuple(shape.width * mult for mult in shape.mult),
        layers_per_block=shape.res_blocks,
        attention_head_dim=shape.head_channels,
        downsample_type=resampling,
        upsample_type=resampling,
        norm_num_groups=32,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        resnet_time_scale_shift="scale_shift" if shape.scale_shift else "default",
    )


def origins(shape: UnetShape, file_key: Callable[[str], str]) -> dict[str, Origin]:
    """Origin of each parameter of `build(shape)`; `file_key` turns the UNet's own key into that of the file."""
    return {
        f"{ours}.{kind}": Origin(file_key(f"{theirs}.{kind}"), _PARTS.get(ours.rpartition(".")[2]), shape.head_channels)
        for ours, theirs in layers(shape, _ATTENTION, shape.resnet_resampling)
        for kind in ("weight", "bias")
    }


def layers(shape: Levels, attention: Mapping[str, str], resnet_resampling: bool = False) -> Iterator[tuple[str, str]]:
    """Pairs (our layer, theirs), with the names in an attention block as given.

    Theirs are numbered once down and once up; a level ends with its resampling.
    """
    yield from _ENDS.items()
    top = len(shape.mult) - 1
    index = 0
    for level in range(top + 1):
        block = f"down_blocks.{level}"
        for i in range(shape.res_blocks):
            index += 1
            yield from _unit(attention if shape.attends(level) else {}, block, i, f"input_blocks.{index}")
        if level < top:
            index += 1
            yield from _resampling(resnet_resampling, f"{block}.downsamplers.0", f"input_blocks.{index}.0", conv="op")
    for ours, theirs in (("resnets.0", 0), ("resnets.1", 2)):
        yield from inside(f"mid_block.{ours}", f"middle_block.{theirs}", _RESNET)
    yield from inside("mid_block.attentions.0", "middle_block.1", attention)
    index = -1
    for level in range(top, -1, -1):
        block = f"up_blocks.{top - level}"
        for i in range(shape.res_blocks + 1):
            index += 1
            yield from _unit(attention if shape.attends(level) else {}, block, i, f"output_blocks.{index}")
        if level > 0:
            last = 2 if shape.attends(level) else 1
            yield from _resampling(
                resnet_resampling, f"{block}.upsamplers.0", f"output_blocks.{index}.{last}", conv="conv"
            )


def _unit(attention: Mapping[str, str], block: str, i: int, theirs: str) -> Iterator[tuple[str, str]]:
    yield from inside(f"{block}.resnets.{i}", f"{theirs}.0", _RESNET)
    yield from inside(f"{block}.attentions.{i}", f"{theirs}.1", attention)


def _resampling(resnet: bool, ours: str, theirs: str, conv: str) -> Iterator[tuple[str, str]]:
    if resnet:
        yield from inside(ours, theirs, _RESNET)
    else:
        yield f"{ours}.conv", f"{theirs}.{conv}"

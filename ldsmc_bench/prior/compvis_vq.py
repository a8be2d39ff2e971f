"""The VQ autoencoder of latent diffusion on diffusers' VQModel.

Architecture: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", appendix G, after
Esser et al. 2021 (VQGAN). No attention outside the middle block, which is what the published VQ-f4 has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from diffusers.models.autoencoders.vq_model import VQModel

from ldsmc_bench.prior.foreign_config import ForeignConfig
from ldsmc_bench.prior.transplant import Origin, inside

_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


@dataclass(frozen=True)
class VqShape:
    """What the weights of an autoencoder do not say themselves."""

    width: int
    mult: tuple[int, ...]
    res_blocks: int
    z_channels: int
    codes: int
    code_channels: int


def build(shape: VqShape) -> VQModel:
    """The network: epsilon 1e-6 in every norm, one attention head, downsampling padded right and below only."""
    levels = len(shape.mult)
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(shape.width * mult for mult in shape.mult),
        layers_per_block=shape.res_blocks,
        latent_channels=shape.z_channels,
        vq_embed_dim=shape.code_channels,
        num_vq_embeddings=shape.codes,
        norm_num_groups=32,
        scaling_factor=1.0,
    )


def origins(shape: VqShape, prefix: str) -> dict[str, Origin]:
    """Origin of each parameter of `build(shape)` in a file where the autoencoder's keys begin with `prefix`."""
    return {
        f"{ours}.{kind}": Origin(f"{prefix}{theirs}.{kind}")
        for ours, theirs in (*layers(len(shape.mult), shape.res_blocks), ("quantize.embedding",) * 2)
        for kind in ("weight", "bias")
    }


def read_shape(config: ForeignConfig, first_stage: str = "first_stage_config") -> VqShape:
    """The autoencoder that a CompVis config describes below the key `first_stage`.

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    params = f"{first_stage}.params"
    config.expect(f"{first_stage}.target", "ldm.models.autoencoder.VQModelInterface")
    config.expect(f"{params}.ddconfig.double_z", False)
    config.expect(f"{params}.ddconfig.attn_resolutions", [])
    return VqShape(
        width=config.count(f"{params}.ddconfig.ch"),
        mult=config.counts(f"{params}.ddconfig.ch_mult"),
        res_blocks=config.count(f"{params}.ddconfig.num_res_blocks"),
        z_channels=config.count(f"{params}.ddconfig.z_channels"),
        codes=config.count(f"{params}.n_embed"),
        code_channels=config.count(f"{params}.embed_dim"),
    )


def layers(levels: int, res_blocks: int) -> Iterator[tuple[str, str]]:
    """Pairs (our layer, theirs), but for the codebook; theirs counts the decoder's levels from the image side."""
    for name in ("quant_conv", "post_quant_conv"):
        yield name, name
    top = levels - 1
    for half in ("encoder", "decoder"):
        for ours, theirs in (("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out")):
            yield f"{half}.{ours}", f"{half}.{theirs}"
        for ours, theirs in (("resnets.0", "block_1"), ("resnets.1", "block_2")):
            yield from inside(f"{half}.mid_block.{ours}", f"{half}.mid.{theirs}", _RESNET)
        yield from inside(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1", _ATTENTION)
    for level in range(top + 1):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{top - level}"
        for i in range(res_blocks):
            yield from inside(f"{down}.resnets.{i}", f"encoder.down.{level}.block.{i}", _RESNET)
        for i in range(res_blocks + 1):
            yield from inside(f"{up}.resnets.{i}", f"decoder.up.{level}.block.{i}", _RESNET)
        yield f"{down}.downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"
        yield f"{up}.upsamplers.0.conv", f"decoder.up.{level}.upsample.conv"

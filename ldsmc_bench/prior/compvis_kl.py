"""The KL autoencoder of latent diffusion and Stable Diffusion, on diffusers' AutoencoderKL.

Architecture: Rombach et al. 2022, appendix G: the VQ autoencoder without a codebook; the encoder gives the mean and the
logarithm of the variance of a Gaussian. No attention outside the middle block, as in the published KL-f8.
"""

from dataclasses import dataclass

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from ldsmc_bench.prior.compvis_vq import layers
from ldsmc_bench.prior.foreign_config import ForeignConfig
from ldsmc_bench.prior.transplant import Origin

TARGET = "ldm.models.autoencoder.AutoencoderKL"


@dataclass(frozen=True)
class KlShape:
    """What the weights of an autoencoder do not say themselves."""

    width: int
    mult: tuple[int, ...]
    res_blocks: int
    z_channels: int


def build(shape: KlShape) -> AutoencoderKL:
    """The network: epsilon 1e-6 in every norm, one attention head, downsampling padded right and below only."""
    levels = len(shape.mult)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(shape.width * mult for mult in shape.mult),
        layers_per_block=shape.res_blocks,
        latent_channels=shape.z_channels,
        norm_num_groups=32,
    )


def origins(shape: KlShape, prefix: str) -> dict[str, Origin]:
    """Origin of each parameter of `build(shape)` in a file where the autoencoder's keys begin with `prefix`."""
    return {
        f"{ours}.{kind}": Origin(f"{prefix}{theirs}.{kind}")
        for ours, theirs in layers(len(shape.mult), shape.res_blocks)
        for kind in ("weight", "bias")
    }


def read_shape(config: ForeignConfig, first_stage: str = "first_stage_config") -> KlShape:
    """The autoencoder that a CompVis config describes below the key `first_stage`.

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    params = f"{first_stage}.params"
    config.expect(f"{first_stage}.target", TARGET)
    config.expect(f"{params}.ddconfig.double_z", True)
    config.expect(f"{params}.ddconfig.attn_resolutions", [])
    z_channels = config.count(f"{params}.ddconfig.z_channels")
    config.expect(f"{params}.embed_dim", z_channels)  # diffusers has one width for both
    return KlShape(
        width=config.count(f"{params}.ddconfig.ch"),
        mult=config.counts(f"{params}.ddconfig.ch_mult"),
        res_blocks=config.count(f"{params}.ddconfig.num_res_blocks"),
        z_channels=z_channels,
    )

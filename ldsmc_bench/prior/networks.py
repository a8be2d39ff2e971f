"""The embedded priors' networks: small diffusers models for 64x64 toyfaces."""

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.prior import schedule


def autoencoder() -> VQModel:
    """VQ-f4: images (B,3,64,64) in [-1,1] to latents (B,3,16,16), 4096 codes of dimension 3."""
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        norm_num_groups=16,
        num_vq_embeddings=4096,
        scaling_factor=1.0,
    )


def latent_unet() -> UNet2DModel:
    """Noise prediction on latents (B,3,16,16); timesteps 0..999."""
    return UNet2DModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 192),
        attention_head_dim=32,
        norm_num_groups=32,
        resnet_time_scale_shift="scale_shift",
    )


class PixelUNet(nn.Module):
    """Noise prediction on images (B,3,64,64), fixed variance; works on 2x2 patches, which a CPU can afford.

    The network inside predicts v = sqrt(a) eps - sqrt(1 - a) x_0 (Salimans & Ho 2022, arXiv 2202.00512): where there is
    almost nothing but noise, the error of a predicted eps would be magnified 1 / sqrt(a) times in x_0.
    """

    alpha_bar: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha_bar", schedule.linear().float(), persistent=False)
        self.unet = UNet2DModel(
            sample_size=32,
            in_channels=12,
            out_channels=12,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            block_out_channels=(64, 96, 128),
            layers_per_block=1,
            attention_head_dim=32,
            norm_num_groups=32,
            resnet_time_scale_shift="scale_shift",
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B,3,64,64), (B,) -> (B,3,64,64)."""
        v = F.pixel_shuffle(self.unet(F.pixel_unshuffle(x, 2), t, return_dict=False)[0], 2)
        a = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        return a.sqrt() * v + (1 - a).sqrt() * x


def quantise(codebook: Tensor, z: Tensor) -> Tensor:
    """Nearest code of every latent vector with the straight-through gradient; `codebook` (K,d), `z` (B,d,h,w).

    The value keeps the reference's form z + (e - z), equal to the code e up to rounding (CompVis VQ-f4).
    """
    return z + (codes_of(codebook, z) - z).detach()


def codes_of(codebook: Tensor, z: Tensor) -> Tensor:
    """The nearest code of every vector of `z` (B,d,h,w), with gradient to the codebook."""
    vectors = z.permute(0, 2, 3, 1)
    codes = codebook[nearest(codebook, vectors.reshape(-1, vectors.shape[-1]))].reshape(vectors.shape)
    return codes.permute(0, 3, 1, 2)


@torch.no_grad()
def nearest(codebook: Tensor, vectors: Tensor, rows: int = 16384) -> Tensor:
    """Index of the nearest code (K,d) for each vector (n,d); in blocks, so that no full distance matrix is held."""
    with torch.autocast(vectors.device.type, enabled=False):
        half_norm = 0.5 * (codebook * codebook).sum(dim=1)
        blocks = vectors.to(codebook.dtype).split(rows)
        return torch.cat([torch.addmm(half_norm, block, codebook.T, alpha=-1).argmin(dim=1) for block in blocks])

"""The embedded priors, a latent and a pixel diffusion model of drawn faces, and their small diffusers networks."""

from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.files import file_digest
from ldsmc_bench.prior import schedule
from ldsmc_bench.prior.codec import wrap_autoencoder
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.prior.pixel import PixelPrior
from ldsmc_bench.toyfaces.assets import ASSETS, load, training_facts


def latent() -> LatentPrior:
    """Drawn faces at 64x64, in latents (3,16,16)."""
    vq, scale = autoencoder()
    unet = load(new_latent_unet(), ASSETS / "toyfaces_latent.safetensors")
    weights = {name: file_digest(ASSETS / f"toyfaces_{name}.safetensors") for name in ("autoencoder", "latent")}
    return LatentPrior(
        unet=unet,
        codec=wrap_autoencoder(vq, scale),
        alpha_bar=schedule.scaled_linear(),
        shape=(3, 16, 16),
        image_size=64,
        digest=digest_of("toyfaces_latent", weights=weights),
    )


def autoencoder() -> tuple[VQModel, float]:
    """The trained VQ-f4 autoencoder and its latent scale."""
    path = ASSETS / "toyfaces_autoencoder.safetensors"
    return load(new_autoencoder(), path), float(training_facts(path)["scale"])


def pixel() -> PixelPrior:
    """Drawn faces at 64x64, in pixels."""
    path = ASSETS / "toyfaces_pixel.safetensors"
    learned = digest_of("toyfaces_pixel", weights=file_digest(path))
    return PixelPrior(load(PixelUNet(), path), schedule.linear(), 64, learned)


def new_autoencoder() -> VQModel:
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


def new_latent_unet() -> UNet2DModel:
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
        """(B,3,64,64), (B,) -> (B,3,64,64). Between two training steps the level is interpolated."""
        v = F.pixel_shuffle(self.unet(F.pixel_unshuffle(x, 2), t, return_dict=False)[0], 2)
        a = schedule.alpha_bar_at(self.alpha_bar, t).reshape(-1, 1, 1, 1)
        return a.sqrt() * v + (1 - a).sqrt() * x

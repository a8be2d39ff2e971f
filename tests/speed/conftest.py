"""A prior like the embedded one, with networks that take milliseconds: the measuring does not depend on their size."""

import pytest
import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.prior import schedule
from ldsmc_bench.prior.codec import VqCodec


@pytest.fixture(scope="session")
def tiny() -> LatentPrior:
    """A UNet with attention and a VQ-f4 autoencoder, of random weights, for images of side 64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            attention_head_dim=8,
            norm_num_groups=4,
        )
        vq = VQModel(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            norm_num_groups=4,
            num_vq_embeddings=64,
            scaling_factor=1.0,
        )
        codebook = torch.randn(64, 3)
    return LatentPrior(
        unet=unet.eval().requires_grad_(False),
        codec=VqCodec(vq.eval().requires_grad_(False), codebook, scale=1.0),
        alpha_bar=schedule.scaled_linear(),
        shape=(3, 16, 16),
        image_size=64,
        digest="tiny",
    ).to(torch.device("cpu"), torch.float32)


@pytest.fixture
def measured_on_tiny(tiny: LatentPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's cases are of this prior, and each is timed once."""
    monkeypatch.setattr("ldsmc_bench.speed.setup._prior", lambda *_: tiny)
    monkeypatch.setattr("ldsmc_bench.speed.measure.ROUNDS", 1)
    monkeypatch.setattr("ldsmc_bench.speed.timing.SIDES", {"cpu": (64,)})

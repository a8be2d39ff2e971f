"""Compiled networks give what they gave, for any number of rows, without being compiled again and again."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from ldsmc_bench.checkpoints import latent
from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture import prior
from ldsmc_bench.prior import pixel
from ldsmc_bench.prior.codec import wrap_autoencoder
from ldsmc_bench.prior.compiled import compile_networks, networks_of, to_device_and_compile
from ldsmc_bench.toyfaces import priors

CPU = torch.device("cpu")


def small() -> latent.LatentPrior:
    """As the embedded one, of networks with a block each."""
    torch.manual_seed(0)
    blocks: dict[str, Any] = {"block_out_channels": (16,), "layers_per_block": 1, "norm_num_groups": 8}
    unet = UNet2DModel(8, down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",), **blocks)
    vq = VQModel(num_vq_embeddings=64, **blocks)
    codec, unet = wrap_autoencoder(vq.requires_grad_(False), 1.0), unet.requires_grad_(False)
    return replace(priors.latent(), unet=unet, codec=codec, shape=(3, 8, 8), image_size=8)


def passed(prior: Any, rows: int) -> list[Tensor]:
    """Everything that samplers ask for: with and without gradient, twice of one graph too."""
    z = torch.randn((rows, 3, 8, 8), generator=torch.Generator().manual_seed(rows)).requires_grad_(True)
    t = torch.full((rows,), 500)
    x = prior.decode(z - prior.eps(z, t))
    twice = [torch.autograd.grad(x.square().sum(), z, retain_graph=True)[0] for _ in range(2)]
    with torch.no_grad():
        return [x.detach(), *twice, prior.eps(z, t), prior.decode(z), prior.encode(x)]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured and differentiated as they will be, but run as they are: no compiler is waited for."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()


@pytest.mark.slow
def test_nothing_is_compiled_anew_once_there_were_few_and_many_rows(traced: None) -> None:
    plain, prior = small(), to_device_and_compile(small(), CPU, torch.float32, compile=True)
    for rows in (2, 4, 18):
        passed(prior, rows)
    with torch.compiler.set_stance("fail_on_recompile"):
        for rows in (4, 3, 7, 2, 20):
            for mine, expected in zip(passed(prior, rows), passed(plain, rows), strict=True):
                apart = (mine - expected).abs().max() / expected.abs().max().clamp(min=1)
                assert apart < 1e-5  # of the largest: gradients are larger than images, and so is their rounding


class Denoiser(nn.Module):
    """Small enough for a real compiler."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(nn.functional.silu(self.first(x)) * (t / 1000).reshape(-1, 1, 1, 1))


@pytest.mark.slow
def test_a_real_compiler_agrees_to_rounding() -> None:
    torch._dynamo.reset()
    plain = pixel.PixelPrior(Denoiser().requires_grad_(False), priors.latent().alpha_bar, 8, "small")
    prior = to_device_and_compile(replace(plain, unet=deepcopy(plain.unet)), CPU, torch.float32, compile=True)
    for rows in (3, 5):
        for mine, expected in zip(passed(prior, rows), passed(plain, rows), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_the_networks_are_those_that_a_prior_calls() -> None:
    prior = small()
    assert list(networks_of(prior)) == [prior.unet, prior.codec.network.encoder, prior.codec.network.decoder]
    dps = priors.pixel()
    assert list(networks_of(dps)) == [dps.unet]
    assert isinstance(to_device_and_compile(dps, CPU, torch.float32, compile=False).unet, nn.Module)


def test_no_compiler_and_no_networks_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(function: Any, *_: Any, **__: Any) -> Any:
        raise RuntimeError("Compiler: g++ is not found.\nmore")

    with pytest.raises(UserError, match="compile=true: this prior has no networks"):
        compile_networks(prior.mixture("lattice", 2, 0, 20, 0.002, 80.0), CPU)
    monkeypatch.setattr(torch, "compile", none)
    with pytest.raises(UserError, match=r"compile=true: PyTorch cannot compile on this machine \(Compiler: g\+\+"):
        compile_networks(small(), CPU)

"""CompVis' layout: the public code's numbers are reproduced, and a file that does not fit is refused by key."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.checkpoints.read import read_checkpoint
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import quantise

FIXTURE = Path(__file__).parents[1] / "fixtures" / "compvis_ldm_vq4_unconditional"
FIRST = "model.diffusion_model.input_blocks.1.0.in_layers.0.weight"


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(FIXTURE / "expected.safetensors")


@pytest.fixture(scope="module")
def prior() -> LatentPrior:
    return compvis.load(FIXTURE)


def plain_decode(vq: Any, z: Tensor) -> Tensor:
    return vq.decode(z, force_not_quantize=True).sample


COMPUTED: dict[str, Callable[[LatentPrior, dict[str, Tensor]], Tensor]] = {
    "eps_ema": lambda prior, given: prior.eps(given["z"], given["t"]),
    "decode": lambda prior, given: prior.decode(given["z"]),
    "encode": lambda prior, given: prior.encode(given["x"]),
    "quantized": lambda prior, given: quantise(prior.codec.codebook, given["z"]),
    "decode_without_quantize": lambda prior, given: plain_decode(prior.codec.network, given["z"]),
    "alphas_cumprod": lambda prior, given: prior.alpha_bar,
}


@pytest.mark.parametrize("quantity", COMPUTED)
def test_the_public_code_is_reproduced(prior, expected, quantity):
    computed = COMPUTED[quantity](prior, expected)
    assert computed.shape == expected[quantity].shape
    assert (computed - expected[quantity]).abs().max() < 1e-4


def test_raw_weights_are_another_network_than_their_average(prior, expected):
    raw = compvis.load(FIXTURE, ema=False)
    eps = raw.eps(expected["z"], expected["t"])
    assert (eps - expected["eps"]).abs().max() < 1e-4
    assert (eps - expected["eps_ema"]).abs().max() > 1e-2
    assert raw.digest != prior.digest


def test_the_second_load_reads_the_cache_alone(prior, monkeypatch, expected, tmp_path):
    def unexpected(path: Path) -> dict[str, Tensor]:
        raise AssertionError(f"{path} was converted again")

    monkeypatch.setattr(compvis, "read_weights", unexpected)
    again = compvis.load(FIXTURE)
    assert again.digest == prior.digest
    torch.testing.assert_close(again.eps(expected["z"], expected["t"]), prior.eps(expected["z"], expected["t"]))
    with pytest.raises(AssertionError, match="converted again"):
        monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
        compvis.load(FIXTURE)


def test_the_gradient_passes_straight_through_the_quantiser(prior, expected):
    """decode, a step function, has at z the gradient that the plain decoder has at the quantised point."""
    z = expected["z"].clone().requires_grad_()
    pull = torch.linspace(-1, 1, expected["decode"].numel()).reshape(expected["decode"].shape)
    (through,) = torch.autograd.grad((prior.decode(z) * pull).sum(), z)
    quantised = expected["quantized"].clone().requires_grad_()
    (plain,) = torch.autograd.grad((plain_decode(prior.codec.network, quantised) * pull).sum(), quantised)
    assert through.isfinite().all() and through.abs().max() > 1
    torch.testing.assert_close(through, plain, rtol=1e-4, atol=1e-3)


def test_networks_are_frozen_and_of_float32(prior):
    for network in (prior.unet, prior.codec.network):
        assert not network.training
        assert all(not weight.requires_grad and weight.dtype == torch.float32 for weight in network.parameters())
    assert prior.alpha_bar.dtype == torch.float64
    assert prior.shape == (3, 16, 16) and prior.image_size == 64 and prior.codec.scale == 1


def test_full_size_networks_have_the_published_size():
    with torch.device("meta"):
        unet, vq = (shape.build() for shape in compvis.FFHQ.shapes.values())

    def millions(network: nn.Module) -> float:
        return sum(weight.numel() for weight in network.parameters()) / 1e6

    assert millions(unet) == pytest.approx(274.06, abs=0.005)
    assert millions(vq.encoder) == pytest.approx(22.3, abs=0.05)
    assert millions(vq.decoder) == pytest.approx(33.0, abs=0.05)
    x, t = torch.empty(1, 3, 256, 256, device="meta"), torch.empty(1, device="meta")
    z = vq.encode(x).latents
    assert unet(z, t).sample.shape == z.shape == (1, 3, 64, 64)
    assert vq.decoder(vq.post_quant_conv(z)).shape == x.shape


def without_config(folder: Path, weights: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": weights}, folder / "model.ckpt")
    return folder


def altered(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    weights = read_checkpoint(FIXTURE / "model.ckpt")
    change(weights)
    (folder / "config.yaml").write_bytes((FIXTURE / "config.yaml").read_bytes())
    return without_config(folder, weights)


@pytest.mark.parametrize("key", [FIRST, "first_stage_model.quantize.embedding.weight"])
def test_a_missing_key_is_named(tmp_path, key):
    folder = altered(tmp_path, lambda weights: weights.pop(key))
    with pytest.raises(UserError, match=f"missing key {key};"):
        compvis.load(folder, ema=False)


def test_a_missing_averaged_key_is_named_and_never_taken_from_the_raw_weights(tmp_path):
    key = "model_ema.diffusion_modelinput_blocks10in_layers0weight"
    folder = altered(tmp_path, lambda weights: weights.pop(key))
    with pytest.raises(UserError, match=f"missing key {key};"):
        compvis.load(folder, ema=True)


@pytest.mark.parametrize(
    "key", ["model.diffusion_model.input_blocks.1.2.weight", "cond_stage_model.embedding.weight", "first_stage_model.x"]
)
def test_an_unexpected_key_is_named(tmp_path, key):
    folder = altered(tmp_path, lambda weights: weights.update({key: torch.zeros(1)}))
    with pytest.raises(UserError, match=f"unexpected key {key};"):
        compvis.load(folder, ema=False)


def test_another_shape_is_named(tmp_path):
    key = "model.diffusion_model.middle_block.1.qkv.weight"
    folder = altered(tmp_path, lambda weights: weights.update({key: weights[key].reshape(64, 192, 1)}))
    with pytest.raises(UserError, match=rf"{key} has shape \(64, 192, 1\), but the config asks for \(192, 64, 1\)"):
        compvis.load(folder, ema=False)


def test_another_architecture_is_refused_by_its_first_key(tmp_path):
    """Without a config beside it the file must be the published full-size network."""
    folder = without_config(tmp_path, read_checkpoint(FIXTURE / "model.ckpt"))
    with pytest.raises(UserError, match=r"input_blocks\.0\.0\.weight has shape \(32, 3, 3, 3\), but"):
        compvis.load(folder, ema=False)


def test_another_schedule_is_refused(tmp_path):
    folder = altered(tmp_path, lambda weights: weights.update(alphas_cumprod=weights["alphas_cumprod"] ** 1.01))
    with pytest.raises(UserError, match="alphas_cumprod is not that of"):
        compvis.load(folder)


def test_a_file_without_averages_names_the_setting(tmp_path):
    folder = altered(tmp_path, lambda weights: [weights.pop(key) for key in list(weights) if "model_ema" in key])
    with pytest.raises(UserError, match=r"prior\.ema=false"):
        compvis.load(folder, ema=True)
    assert compvis.load(folder, ema=False).image_size == 64


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unet_config.params.use_spatial_transformer", True),
        ("unet_config.params.num_head_channels", -1),
        ("unet_config.params.num_res_blocks", None),
        ("unet_config.params.channel_mult", "wide"),
        ("first_stage_config.target", "ldm.models.autoencoder.AutoencoderKL"),
        ("first_stage_config.params.ddconfig.attn_resolutions", [16]),
        ("cond_stage_config", {"target": "ldm.modules.encoders.modules.ClassEmbedder"}),
        ("beta_schedule", "cosine"),
        ("scale_factor", "small"),
        ("linear_start", -0.1),
        ("linear_end", float("nan")),
        ("timesteps", True),
        ("unet_config.params.model_channels", "${no.such.key}"),
    ],
)
def test_a_config_of_another_network_is_refused_by_key(tmp_path, key, value):
    config = OmegaConf.load(FIXTURE / "config.yaml")
    OmegaConf.update(config, f"model.params.{key}", value, merge=False)
    OmegaConf.save(config, tmp_path / "config.yaml")
    with pytest.raises(UserError, match=f"model.params.{key}") as refusal:
        compvis.describe(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_network_that_cannot_be_built_is_one_line(tmp_path):
    config = OmegaConf.load(FIXTURE / "config.yaml")
    config.model.params.unet_config.params.model_channels = 33  # no multiple of the norms' groups
    OmegaConf.save(config, tmp_path / "config.yaml")
    shutil.copy(FIXTURE / "model.ckpt", tmp_path)
    with pytest.raises(UserError, match="use the config published with the checkpoint") as refusal:
        compvis.load(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_broken_config_is_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        compvis.describe(tmp_path)

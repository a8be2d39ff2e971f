"""guided-diffusion's layout: the public code's numbers are reproduced, and a file that does not fit is refused."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from ldsmc_bench.checkpoints import guided_diffusion
from ldsmc_bench.checkpoints.read import read_checkpoint
from ldsmc_bench.errors import UserError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "guided_diffusion"


def test_the_public_code_is_reproduced():
    expected = load_file(FIXTURE / "expected.safetensors")
    prior = guided_diffusion.load(FIXTURE)
    unet = prior.unet
    out = unet(expected["x"], expected["t"]).sample
    assert out.shape == (2, 6, 64, 64) and prior.image_size == 64
    assert (out - expected["out"]).abs().max() < 1e-4
    assert not unet.training and not any(weight.requires_grad for weight in unet.parameters())


@pytest.mark.parametrize(("name", "megabytes"), [("ffhq_10m.pt", 374), ("256x256_diffusion_uncond.pt", 2211)])
def test_full_size_networks_fill_the_published_files(name, megabytes):
    """At four bytes a weight."""
    shape = guided_diffusion.PUBLISHED[name].unet
    with torch.device("meta"):
        unet = shape.build()
    assert sum(4 * weight.numel() for weight in unet.parameters()) / 1e6 == pytest.approx(megabytes, rel=0.002)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"num_channels": 128, "num_res_blocks": 1, "attention_resolutions": 16}, "ffhq_10m.pt"),
        (
            {"num_channels": 256, "num_res_blocks": 2, "attention_resolutions": "32,16,8"},
            "256x256_diffusion_uncond.pt",
        ),
    ],
)
def test_the_published_models_are_those_of_the_published_configs(tmp_path, flags, name):
    common = {"image_size": 256, "channel_mult": "", "learn_sigma": True, "class_cond": False, "num_heads": 4}
    blocks = {"num_head_channels": 64, "use_scale_shift_norm": True, "resblock_updown": True}
    OmegaConf.save(OmegaConf.create({**common, **blocks, **flags}), tmp_path / "model_config.yaml")
    read, built_in = guided_diffusion.read_config(tmp_path / "model_config.yaml"), guided_diffusion.PUBLISHED[name]
    assert sorted(read.unet.attention_at) == sorted(built_in.unet.attention_at)
    for field in ("channels_out", "width", "mult", "res_blocks", "head_channels", "scale_shift", "resnet_resampling"):
        assert getattr(read.unet, field) == getattr(built_in.unet, field)


@pytest.mark.parametrize(("missing", "key"), [(True, "out.2.bias"), (False, "label_emb.weight")])
def test_a_key_too_few_or_too_many_is_named(tmp_path, missing, key):
    weights = read_checkpoint(FIXTURE / "model.pt")
    if missing:
        del weights[key]
    else:
        weights[key] = torch.zeros(1)
    torch.save(weights, tmp_path / "model.pt")
    (tmp_path / "model_config.yaml").write_bytes((FIXTURE / "model_config.yaml").read_bytes())
    with pytest.raises(UserError, match=rf"(missing|unexpected) key {key};"):
        guided_diffusion.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_cond", True),
        ("num_head_channels", -1),
        ("use_new_attention_order", True),
        ("channel_mult", "0.5,1"),
        ("channel_mult", "2,1"),
        ("num_channels", None),
    ],
)
def test_a_config_of_another_network_is_refused_by_key(tmp_path, key, value):
    config = OmegaConf.load(FIXTURE / "model_config.yaml")
    config[key] = value
    OmegaConf.save(config, tmp_path / "model_config.yaml")
    with pytest.raises(UserError, match=key):
        guided_diffusion.read_config(tmp_path / "model_config.yaml")


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(UserError, match=r"ffhq_10m\.pt"):
        guided_diffusion.load(tmp_path)

"""A diffusers folder with one key changed: refused in one line, or the very numbers of diffusers' own network."""

import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import schedulers
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from ldsmc_bench.checkpoints import compvis, diffusers_folder, stable_diffusion
from ldsmc_bench.checkpoints.clip import TextShape
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule

pytest.importorskip("transformers", reason="needs the extra [text]")
load = partial(compvis.load, published="sd15")
# Rounding depends on where in memory weights lie: some CPUs multiply aligned matrices in another order.
equal = partial(torch.allclose, rtol=1e-5, atol=1e-5)
CLASSES: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
TINY: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    "vae": {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "sample_size": 8,
    },
}
SCHEDULER = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULER |= {"num_train_timesteps": 1000, "clip_sample": False, "skip_prk_steps": True, "trained_betas": None}
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 49408}
TEXT |= {"max_position_embeddings": 77, "hidden_act": "quick_gelu", "intermediate_size": 32, "_name_or_path": "x"}
WEIGHTS = "diffusion_pytorch_model.safetensors"

# What a value would be that another folder may have, and whether it can be read: true, and then it counts.
CASES: list[tuple[str, str, Any, bool]] = [
    ("unet", "act_fn", "gelu", True),
    ("unet", "attention_head_dim", [2, 4], True),
    ("unet", "center_input_sample", True, True),
    ("unet", "downsample_padding", 0, True),
    ("unet", "flip_sin_to_cos", False, True),
    ("unet", "freq_shift", 1, True),
    ("unet", "mid_block_scale_factor", 2.0, True),
    ("unet", "norm_eps", 1e-3, True),
    ("unet", "norm_num_groups", 2, True),
    ("unet", "only_cross_attention", [True, False], True),
    ("unet", "resnet_time_scale_shift", "scale_shift", True),
    ("unet", "timestep_post_act", "silu", True),
    ("unet", "use_linear_projection", True, True),
    ("unet", "in_channels", 9, False),
    ("unet", "out_channels", 8, False),
    ("unet", "cross_attention_dim", 16, False),
    ("unet", "class_embed_type", "timestep", False),
    ("unet", "time_cond_proj_dim", 8, False),
    ("unet", "num_attention_heads", 4, False),
    ("unet", "sample_size", [4, 8], False),
    ("unet", "sample_size", 10**12, False),
    ("unet", "sample_size", [], False),
    ("unet", "cross_attention_dim", [[8]], False),
    ("unet", "norm_num_groups", 3, False),
    ("unet", "down_block_types", ["KCrossAttnDownBlock2D", "KDownBlock2D"], False),
    ("unet", "up_block_types", ["CrossAttnUpBlock2D", "UpBlock2D"], True),
    ("unet", "only_cross_attention", "False", False),
    ("unet", "block_out_channels", None, False),
    ("vae", "act_fn", "gelu", True),
    ("vae", "norm_num_groups", 2, True),
    ("vae", "scaling_factor", 0.13025, True),
    ("vae", "use_post_quant_conv", False, True),
    ("vae", "mid_block_add_attention", False, True),
    ("vae", "latent_channels", 16, False),
    ("vae", "shift_factor", 0.5, False),
    ("vae", "latents_mean", [1.0] * 4, False),
    ("vae", "latents_std", [2.0] * 4, False),
    ("vae", "scaling_factor", "0.2", False),
    ("vae", "scaling_factor", 0.0, False),
    ("vae", "up_block_types", ["UpBlock2D", "UpBlock2D"], False),
]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Z, X, T = normal(1, 4, 4, 4, seed=1), normal(1, 3, 8, 8, seed=2).clamp(-1, 1), torch.tensor([500.0])


def network(part: str, **changes: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CLASSES[part](**TINY[part] | changes)
        for weight in made.parameters():
            weight.data.add_(0.05 * torch.randn_like(weight))
    return made.eval().requires_grad_(False)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def edit(path: Path, **changes: object) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for part in CLASSES:
        network(part).save_pretrained(folder / part)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(folder / "text_encoder" / "config.json", TEXT)
    encoder = TextShape(width=8, layers=1, heads=2).build()
    save_file(
        {f"text_model.{key}": w for key, w in encoder.state_dict().items()}, folder / "text_encoder/model.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def plain(whole: Path) -> LatentPrior:
    return load(whole)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The whole folder, of which every file may be replaced."""
    for path in whole.rglob("*.*"):
        copy = tmp_path / path.relative_to(whole)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy) if path.suffix == ".json" else copy.symlink_to(path)
    return tmp_path


def read_as_diffusers_does(folder: Path, part: str, key: str, value: Any) -> bool:
    """Whether a folder with this value, in its config and its weights, is read; if so, it must compute the same."""
    theirs = None
    with suppress(Exception):  # what diffusers itself cannot build has the weights of another network here
        theirs = network(part, **{key: value})
        (folder / part / WEIGHTS).unlink()
        theirs.save_pretrained(folder / part)
    edit(folder / part / "config.json", **{key: value})
    try:
        ours = load(folder)
    except UserError as refusal:
        assert any(name in str(refusal) for name in (f"{part}/config.json: ", key, "prior.image_size="))
        assert "\n" not in str(refusal)
        return False
    assert theirs is not None
    if part == "unet":
        z = normal(1, *ours.shape, seed=1)
        assert equal(ours.eps(z, T), theirs(z, T, ours.context).sample)
    else:
        scale = theirs.config.scaling_factor
        assert equal(ours.encode(X), theirs.encode(X).latent_dist.mean * scale)
        assert equal(ours.decode(Z), theirs.decode(Z / scale).sample)
    return True


@pytest.mark.parametrize(("part", "key", "value", "can"), CASES, ids=lambda one: str(one)[:30])
def test_an_argument_is_refused_or_computes_what_diffusers_computes(folder, part, key, value, can):
    assert read_as_diffusers_does(folder, part, key, value) == can


def other_values(default: Any) -> list[Any]:
    if isinstance(default, bool):
        return [not default, str(default), None]
    if isinstance(default, int | float):
        return [default * 2 + 1, str(default), None]
    return [3, 8.5, "text", True, ["text"], [3, 3], None]


ARGUMENTS = [(part, key) for part, kind in CLASSES.items() for key in signature(kind).parameters]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "key"), ARGUMENTS)
def test_no_argument_of_diffusers_is_passed_over(folder, part, key):
    default = TINY[part].get(key, signature(CLASSES[part]).parameters[key].default)
    for value in other_values(default):
        read_as_diffusers_does(folder, part, key, value)


SCHEDULES = {
    "_class_name": ["FlowMatchEulerDiscreteScheduler", "LCMScheduler", 3],
    "beta_end": [1.5, "0.012", -0.1],
    "beta_schedule": ["linear", "squaredcos_cap_v2", None],
    "beta_start": [0.0],
    "no_such_key": [1],
    "num_train_timesteps": [0, 1e3, 10**9],
    "prediction_type": ["v_prediction", "sample"],
    "rescale_betas_zero_snr": [True, "False"],
    "skip_prk_steps": ["True"],
    "thresholding": [True],
    "timestep_type": ["continuous"],
    "trained_betas": [[0.01] * 1000],
    "use_flow_sigmas": [True],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in SCHEDULES.items() for value in values])
@pytest.mark.parametrize("kind", ["PNDMScheduler", "DDIMScheduler"])
def test_another_schedule_is_refused(tmp_path, kind, key, value):
    path = tmp_path / "scheduler_config.json"
    write_json(path, {**SCHEDULER, "_class_name": kind, key: value})
    with pytest.raises(UserError) as refusal:
        stable_diffusion.read_schedule(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)
    assert key in str(refusal.value) or "no schedule" in str(refusal.value)


@pytest.mark.parametrize("kind", [one.__name__ for one in diffusers_folder.BETAS])
def test_the_levels_of_noise_are_those_of_diffusers_own_scheduler(tmp_path, kind):
    path = tmp_path / "scheduler_config.json"
    write_json(path, {**SCHEDULER, "_class_name": kind, "num_train_timesteps": 500, "steps_offset": 1})
    theirs = getattr(schedulers, kind).from_config(json.loads(path.read_text())).alphas_cumprod
    ours = schedule.scaled_linear(*stable_diffusion.read_schedule(path).values())
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("intermediate_size", 16),
        ("layer_norm_eps", 1e-3),
        ("architectures", ["CLIPTextModelWithProjection"]),
        ("num_attention_heads", "2"),
        ("use_attention_mask", True),
        ("max_position_embeddings", 64),
        ("num_attention_heads", 3),
        ("vocab_size", 1000),
    ],
)
def test_another_text_encoder_is_refused(folder, key, value):
    edit(folder / "text_encoder" / "config.json", **{key: value})
    with pytest.raises(UserError, match=rf"text_encoder/config\.json: ({key}|hidden_size) is"):
        stable_diffusion.describe(folder)


def test_a_key_that_no_class_takes_is_named_and_private_ones_pass(folder, whole):
    edit(folder / "unet" / "config.json", _name_or_path="anywhere", _no_such="x")
    assert stable_diffusion.describe(folder) == stable_diffusion.describe(whole)
    edit(folder / "unet" / "config.json", sharpen=False)
    with pytest.raises(UserError, match=r"unet/config\.json: sharpen is False, a key that UNet2DConditionModel"):
        stable_diffusion.describe(folder)


def test_what_diffusers_takes_from_its_defaults_is_taken_from_them(folder):
    edit(folder / "vae" / "config.json", scaling_factor=0.5, _use_default_values=["scaling_factor"])
    theirs = AutoencoderKL.from_config(json.loads((folder / "vae" / "config.json").read_text()))
    assert stable_diffusion.describe(folder).scale == theirs.config.scaling_factor == 0.18215


def shard(path: Path, weights: dict[str, Tensor], precision: str) -> None:
    """Two files and the index of them, as diffusers names them."""
    names = [f"{path.stem}{precision}-0000{i}-of-00002{path.suffix}" for i in (1, 2)]
    keys = list(weights)
    for i, name in enumerate(names):
        store(path.with_name(name), {key: weights[key] for key in keys[i::2]})
    where = {key: names[i % 2] for i, key in enumerate(keys)}
    write_json(path.with_name(f"{path.name}.index{precision}.json"), {"metadata": {}, "weight_map": where})


def store(path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, path) if path.suffix == ".bin" else save_file(weights, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("precision", ["", ".fp16"])
@pytest.mark.parametrize("split", [False, True])
def test_weights_are_read_in_every_form_that_diffusers_writes(folder, whole, plain, suffix, precision, split):
    """In half precision, pickled, in several files: what diffusers' network then computes, under another digest."""
    for file in ("unet/" + WEIGHTS, "vae/" + WEIGHTS, "text_encoder/model.safetensors"):
        path, weights = folder / file, load_file(whole / file)
        if precision:
            weights = {key: weight.half() for key, weight in weights.items()}
        path.unlink()
        stem = "pytorch_model" if (suffix, path.stem) == (".bin", "model") else path.stem
        if split:
            shard(path.with_name(stem + suffix), weights, precision)
        else:
            store(path.with_name(f"{stem}{precision}{suffix}"), weights)
    ours = load(folder)
    unet = network("unet")
    if precision:
        unet = unet.half().float()
        assert not equal(ours.eps(Z, T), plain.eps(Z, T))
    else:
        assert equal(ours.decode(Z), plain.decode(Z)) and equal(ours.context, plain.context)
    assert equal(ours.eps(Z, T), unet(Z, T, ours.context).sample)
    assert ours.unet.dtype == torch.float32 and ours.digest != plain.digest


def test_an_index_that_leads_out_of_its_folder_or_to_nothing_is_one_line(folder):
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    for content in ({"weight_map": {"a": "../../x.safetensors"}}, {"weight_map": {}}, {}, [], {"weight_map": {"a": 1}}):
        index.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"index\.json: is no index of files of weights") as refusal:
            diffusers_folder.parts_of(index)
        assert "\n" not in str(refusal.value)
    write_json(index, {"weight_map": {"a": "gone.safetensors"}})
    with pytest.raises(UserError, match=r"unet/gone\.safetensors: no such file"):
        load(folder)


def test_a_pickle_that_would_run_something_is_refused(folder):
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Path("x")))
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.bin: .*pathlib"):
        load(folder)


def test_a_folder_without_weights_names_the_forms(folder):
    (folder / "vae" / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"vae/diffusion_pytorch_model\.safetensors: no such file, nor .*\.fp16.*\.bin"):
        load(folder)


def test_the_raw_weights_are_read_where_the_folder_has_them(folder, plain):
    assert equal(load(folder, ema=False).eps(Z, T), plain.eps(Z, T))
    weights = load_file(folder / "unet" / WEIGHTS)
    raw = {key: weight * 0.9 for key, weight in weights.items()}
    save_file(raw, folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors")
    assert not equal(load(folder, ema=False).eps(Z, T), plain.eps(Z, T))
    assert equal(load(folder, ema=True).eps(Z, T), plain.eps(Z, T))


def rewritten(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def without(path: Path, key: str) -> None:
    weights = load_file(path)
    del weights[key]
    path.unlink()
    save_file(weights, path)


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no text encoder": ("text_encoder/model.safetensors", Path.unlink, "no such file"),
    "no config": ("vae/config.json", Path.unlink, "no such file"),
    "no settings": ("vae/config.json", lambda p: p.write_text("null"), "holds no settings"),
    "no JSON": ("vae/config.json", lambda p: p.write_text("{"), "is not a JSON file"),
    "truncated": (f"vae/{WEIGHTS}", lambda p: rewritten(p, p.read_bytes()[:999]), "truncated"),
    "lacks a weight": (f"unet/{WEIGHTS}", lambda p: without(p, "conv_in.bias"), "missing key conv_in.bias"),
    "another network": (
        f"unet/{WEIGHTS}",
        lambda p: edit(p.with_name("config.json"), use_linear_projection=True),
        r"diffusers cannot read it .*size mismatch for down_blocks\.0\.attentions\.0\.proj_in\.weight",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_folder_is_one_line_that_names_the_file(folder, kind):
    name, damage, said = BROKEN[kind]
    damage(folder / name)
    with pytest.raises(UserError, match=said) as refusal:
        load(folder)
    assert str(folder / name) in str(refusal.value) and "\n" not in str(refusal.value)

"""Keys of the configs that come with checkpoints: known as harmless, of the one value that is read, or refused."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from ldsmc_bench.checkpoints import compvis, guided_diffusion
from ldsmc_bench.errors import UserError
from tests.checkpoints.conditional_files import class_config, text_config

FIXTURES = Path(__file__).parents[1] / "fixtures"
UNET, STAGE, TEXT = "unet_config.params", "first_stage_config.params", "cond_stage_config.params"
READERS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "unconditional": (
        partial(compvis.read_config, conditional=False),
        (FIXTURES / "compvis_ldm_vq4_unconditional" / "config.yaml").read_text(),
        "model.params.",
    ),
    "classes": (partial(compvis.read_config, conditional=True), class_config(), "model.params."),
    "text": (partial(compvis.read_config, conditional=True), text_config(), "model.params."),
    "guided": (guided_diffusion.read_config, (FIXTURES / "guided_diffusion" / "model_config.yaml").read_text(), ""),
}
COMPVIS = [
    ("parameterization", "x0"),
    ("parameterization", "v"),
    ("given_betas", [0.1]),
    ("beta_schedule", "cosine"),
    ("scale_by_std", True),
    ("scale_by_std", "False"),
    ("cond_stage_forward", "encode"),
    ("channels", 9),
    ("timesteps", 1e9),
    ("timesteps", 10**9),
    ("linear_end", 1e-9),
    ("linear_end", 2.0),
    ("image_sharpness", 1),
    ("unet_config.target", "ldm.modules.diffusionmodules.openaimodel.EncoderUNetModel"),
    (f"{UNET}.in_channels", 9),
    (f"{UNET}.out_channels", 6),
    (f"{UNET}.conv_resample", False),
    (f"{UNET}.dims", 3),
    (f"{UNET}.num_classes", 10),
    (f"{UNET}.n_embed", 8),
    (f"{UNET}.use_scale_shift_norm", True),
    (f"{UNET}.use_spatial_transformer", "no"),
    (f"{UNET}.disable_self_attentions", [True]),
    (f"{STAGE}.remap", "path"),
    (f"{STAGE}.use_ema", True),
    (f"{STAGE}.quantize_not", True),
    (f"{STAGE}.ddconfig.attn_type", "linear"),
    (f"{STAGE}.ddconfig.resamp_with_conv", False),
    (f"{STAGE}.ddconfig.in_channels", 1),
    (f"{STAGE}.ddconfig.tanh_out", True),
    (f"{STAGE}.ddconfig.mid_blocks", 2),
]
REFUSED = [(reader, key, value) for reader in ("unconditional", "classes", "text") for key, value in COMPVIS]
REFUSED += [("unconditional", "image_size", 32), ("unconditional", f"{UNET}.context_dim", 8)]
REFUSED += [("unconditional", f"{STAGE}.ddconfig.resolution", 72)]
REFUSED += [("classes", "conditioning_key", "concat"), ("classes", f"{TEXT}.embed_dim", 8), ("classes", f"{TEXT}.x", 1)]
REFUSED += [("text", f"{TEXT}.{key}", value) for key, value in (("layer", "penultimate"), ("max_length", 64), ("x", 1))]
REFUSED += [
    ("text", f"{UNET}.context_dim", 200),
    ("text", f"{TEXT}.version", "laion/CLIP-ViT-H-14"),
    ("text", f"{UNET}.use_linear_in_transformer", True),
]
REFUSED += [
    ("guided", key, value)
    for key, value in [
        ("noise_schedule", "cosine"),
        ("predict_xstart", True),
        ("diffusion_steps", 4000),
        ("learn_sigma", "False"),
        ("resblock_updown", "True"),
        ("use_scale_shift_norm", 1),
        ("class_cond", "False"),
        ("in_channels", 1),
        ("out_channels", 3),
        ("timestep_respacing", "ddim50"),
        ("num_classes", 1000),
        ("sharpen", False),
        ("image_size", 62),
    ]
]
HARMLESS = [(reader, "monitor", "val/x") for reader in ("unconditional", "classes", "text")]
HARMLESS += [
    ("text", "scheduler_config", {"target": "x", "params": {"warm_up_steps": [1]}}),
    ("classes", "use_ema", False),
]
HARMLESS += [("text", f"{STAGE}.lossconfig", {"target": "torch.nn.Identity"}), ("text", f"{UNET}.legacy", True)]
HARMLESS += [("guided", "dropout", 0.1), ("guided", "use_kl", True), ("guided", "timestep_respacing", "")]


def changed(folder: Path, text: str, key: str, value: object) -> Path:
    config = OmegaConf.create(yaml.safe_load(text))
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    path = folder / "config.yaml"
    OmegaConf.save(config, path)
    return path


@pytest.mark.parametrize(("reader", "key", "value"), REFUSED)
def test_what_would_be_another_network_is_refused_by_key(tmp_path, reader, key, value):
    read, text, root = READERS[reader]
    path = changed(tmp_path, text, root + key, value)
    with pytest.raises(UserError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}: {root}{key}") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("reader", "key", "value"), HARMLESS)
def test_what_concerns_training_alone_passes(tmp_path, reader, key, value):
    read, text, root = READERS[reader]
    assert read(changed(tmp_path, text, root + key, value)) == read(changed(tmp_path, text, f"{root}ignored", None))


def test_another_class_of_model_is_refused(tmp_path):
    for reader in ("unconditional", "classes", "text"):
        read, text, _ = READERS[reader]
        with pytest.raises(UserError, match=r"model\.target is 'ldm\.models\.diffusion\.ddpm\.LatentInpaintDiffusion'"):
            read(changed(tmp_path, text, "model.target", "ldm.models.diffusion.ddpm.LatentInpaintDiffusion"))

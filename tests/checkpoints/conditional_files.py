"""Checkpoints of narrow conditional models in their original layouts, with the networks that wrote them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from tests.checkpoints import compvis_reference as reference

MULT, UNET_MULT, TEXT_WIDTH = (1, 2), (1, 2, 2), 128
_MODULES = "ldm.modules.encoders.modules"


@dataclass(frozen=True)
class Written:
    """A checkpoint's folder and the networks that its weights are of; `average` is the UNet of `model_ema`."""

    folder: Path
    weights: dict[str, Tensor]
    unet: nn.Module
    average: nn.Module
    first_stage: Any
    conditioner: Any


def _unet(channels: int, context: int, seed: int, heads: int, depth: int) -> nn.Module:
    unet = reference.UNet(channels, 32, UNET_MULT, 1, (4, 2), lambda c: heads or c // 16, depth, context)
    return reference.scrambled(unet, seed)


def _config(first_stage: dict[str, Any], conditioner: dict[str, Any], unet: dict[str, Any], **params: Any) -> str:
    unet = {
        "model_channels": 32,
        "attention_resolutions": [4, 2],
        "num_res_blocks": 1,
        "channel_mult": list(UNET_MULT),
        "use_spatial_transformer": True,
        **unet,
    }
    target = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
    settings = {
        "timesteps": 1000,
        "conditioning_key": "crossattn",
        "image_size": 8,
        "unet_config": {"target": target, "params": unet},
        "first_stage_config": first_stage,
        "cond_stage_config": conditioner,
    }
    return yaml.safe_dump(
        {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": {**settings, **params}}}
    )


def _write(folder: Path, config: str, networks: dict[str, Any], average: nn.Module | None, betas: tuple) -> Written:
    weights = {"alphas_cumprod": reference.alphas_cumprod(*betas).float(), "betas": torch.zeros(1000)}
    weights |= reference.keyed("model.diffusion_model.", networks["unet"])
    weights |= reference.keyed("first_stage_model.", networks["first_stage"])
    if isinstance(networks["conditioner"], reference.Text):
        weights |= reference.keyed("cond_stage_model.transformer.text_model.", networks["conditioner"])
        weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    else:
        weights |= reference.keyed("cond_stage_model.embedding.", networks["conditioner"])
    if average is not None:
        weights |= reference.averaged(average)
        weights |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(reference.lightning(weights), folder / "model.ckpt")
    (folder / "config.yaml").write_text(config)
    return Written(folder, weights, average=average or networks["unet"], **networks)


def class_config() -> str:
    """cin256's layout: VQ-f2, images 16x16, 11 classes of which the last means none, heads of 16 channels."""
    ddconfig = {"double_z": False, "z_channels": 3, "ch": 32, "ch_mult": list(MULT), "num_res_blocks": 1}
    stage = {"embed_dim": 3, "n_embed": 40, "ddconfig": {**ddconfig, "attn_resolutions": [], "resolution": 16}}
    return _config(
        {"target": "ldm.models.autoencoder.VQModelInterface", "params": stage},
        {"target": f"{_MODULES}.ClassEmbedder", "params": {"n_classes": 11, "embed_dim": 24, "key": "class_label"}},
        {"in_channels": 3, "out_channels": 3, "num_head_channels": 16, "context_dim": 24, "transformer_depth": 1},
        linear_start=0.0015,
        linear_end=0.0195,
    )


def class_conditional(folder: Path, with_average: bool = True) -> Written:
    """A checkpoint of `class_config`."""
    networks: dict[str, Any] = {
        "unet": _unet(3, context=24, seed=1, heads=0, depth=1),
        "first_stage": reference.scrambled(reference.VqStage(32, MULT, 1, 3, codes=40), 2),
        "conditioner": reference.scrambled(nn.Embedding(11, 24), 3),
    }
    average = _unet(3, context=24, seed=4, heads=0, depth=1) if with_average else None
    return _write(folder, class_config(), networks, average, (0.0015, 0.0195))


def text_config() -> str:
    """Stable Diffusion's layout: KL-f2, images 16x16, CLIP of width 128, two heads, transformers of depth 2."""
    ddconfig = {"double_z": True, "z_channels": 4, "ch": 32, "ch_mult": list(MULT), "num_res_blocks": 1}
    stage = {"embed_dim": 4, "ddconfig": {**ddconfig, "attn_resolutions": [], "resolution": 256}}
    return _config(
        {"target": "ldm.models.autoencoder.AutoencoderKL", "params": stage},
        {"target": f"{_MODULES}.FrozenCLIPEmbedder"},
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_heads": 2,
            "context_dim": TEXT_WIDTH,
            "transformer_depth": 2,
            "legacy": False,
        },
        linear_start=0.00085,
        linear_end=0.012,
        scale_factor=0.18215,
    )


def text_conditional(folder: Path) -> Written:
    """A checkpoint of `text_config`."""
    networks: dict[str, Any] = {
        "unet": _unet(4, context=TEXT_WIDTH, seed=5, heads=2, depth=2),
        "first_stage": reference.scrambled(reference.KlStage(32, MULT, 1, 4), 6),
        "conditioner": reference.scrambled(reference.Text(TEXT_WIDTH, heads=2), 7),
    }
    return _write(folder, text_config(), networks, None, (0.00085, 0.012))

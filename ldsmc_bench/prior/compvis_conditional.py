"""Conditional latent diffusion models in CompVis' layout: class-conditional ones and Stable Diffusion."""

from pathlib import Path

from torch import Tensor, nn

from ldsmc_bench.prior import clip_text, compvis_file, compvis_kl, compvis_vq, spatial_unet
from ldsmc_bench.prior.cache import converted
from ldsmc_bench.prior.clip_text import TextShape
from ldsmc_bench.prior.compvis_vq import VqShape
from ldsmc_bench.prior.conditional_model import ClassShape, Model, builders
from ldsmc_bench.prior.foreign_config import ForeignConfig, read_foreign_config
from ldsmc_bench.prior.transplant import Origin, below, filled, moved, refuse_leftovers
from ldsmc_bench.prior.weight_files import read_weights

_CLASSES, _TEXT = "cond_stage_model.embedding.weight", "cond_stage_model.transformer.text_model."
_POSITIONS = _TEXT + "embeddings.position_ids"  # 0, 1, 2, …
_CLASS_ENCODER = "ldm.modules.encoders.modules.ClassEmbedder"
_TEXT_ENCODER = "ldm.modules.encoders.modules.FrozenCLIPEmbedder"


def networks(path: Path, model: Model, ema: bool) -> dict[str, nn.Module]:
    """The networks of the checkpoint at `path`, `.ckpt` or `.safetensors`: unet, first_stage, conditioner; frozen.

    `ema`: the UNet's averaged weights where the file has both; where it has one copy, that. Converted once, then
    memory-mapped from the cache. Raises UserError where the file is absent or unreadable, or not exactly of `model`.
    """
    state = converted(path, f"conditional {model} ema={ema}", lambda: _convert(path, model, ema))
    return {name: filled(build, below(f"{name}.", state)) for name, build in builders(model).items()}


def _convert(path: Path, model: Model, ema: bool) -> dict[str, Tensor]:
    """The weights of a checkpoint under our networks' keys, each network's below its name; every one, or UserError."""
    weights = read_weights(path)
    averaged = ema and compvis_file.has_average(weights)
    sought = origins(model, averaged)
    found = {
        f"{name}.{key}": tensor
        for name, build in builders(model).items()
        for key, tensor in moved(build, sought[name], weights, path).items()
    }
    used = {origin.key for part in sought.values() for origin in part.values()} | {_POSITIONS}
    refuse_leftovers(weights, used | {key for key in weights if compvis_file.unneeded(key, averaged)}, path)
    compvis_file.check_schedule(model.alpha_bar(), weights, path)
    return found


def origins(model: Model, averaged: bool) -> dict[str, dict[str, Origin]]:
    """Origin of each parameter of each of the model's networks; `averaged`: which copy of the UNet."""
    first_stage, conditioner = model.first_stage, model.conditioner
    return {
        "unet": spatial_unet.origins(model.unet, compvis_file.unet_key(averaged)),
        "first_stage": compvis_vq.origins(first_stage, compvis_file.FIRST_STAGE)
        if isinstance(first_stage, VqShape)
        else compvis_kl.origins(first_stage, compvis_file.FIRST_STAGE),
        "conditioner": {"weight": Origin(_CLASSES)}
        if isinstance(conditioner, ClassShape)
        else clip_text.origins(conditioner, _TEXT),
    }


def read_config(path: Path) -> Model:
    """The model that a CompVis `config.yaml` describes; images have the size that the UNet's latents make.

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    config = read_foreign_config(path, root="model.params.")
    config.expect("beta_schedule", "linear", default="linear")
    config.expect("scale_by_std", False, default=False)
    config.expect("conditioning_key", "crossattn")
    kl = config.ask("first_stage_config.target") == compvis_kl.TARGET
    first_stage = compvis_kl.read_shape(config) if kl else compvis_vq.read_shape(config)
    unet = spatial_unet.read_shape(config)
    return Model(
        unet=unet,
        first_stage=first_stage,
        conditioner=_read_conditioner(config, unet.context_channels),
        image_size=config.count("image_size") * 2 ** (len(first_stage.mult) - 1),
        scale=config.number("scale_factor", 1.0),
        steps=config.count("timesteps", 1000),
        beta_start=config.number("linear_start", 1e-4),
        beta_end=config.number("linear_end", 2e-2),
    )


def _read_conditioner(config: ForeignConfig, channels: int) -> ClassShape | TextShape:
    """A text encoder is CLIP's, with heads of 64 channels like all that were published: the config says no more."""
    if config.ask("cond_stage_config.target") == _TEXT_ENCODER:
        return TextShape(width=channels, heads=max(1, channels // 64))
    config.expect("cond_stage_config.target", _CLASS_ENCODER)
    config.expect("cond_stage_config.params.embed_dim", channels)
    return ClassShape(config.count("cond_stage_config.params.n_classes", 1000), channels)

"""Stable Diffusion as diffusers keeps it: a folder with unet/, vae/, text_encoder/ and scheduler/."""

from pathlib import Path

import torch
from torch import nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.clip_text import TextShape
from ldsmc_bench.prior.compvis_kl import KlShape
from ldsmc_bench.prior.conditional_model import Model, builders
from ldsmc_bench.prior.foreign_config import ForeignConfig, read_foreign_config
from ldsmc_bench.prior.spatial_unet import SpatialUnetShape
from ldsmc_bench.prior.transplant import Origin, filled, moved, refuse_leftovers
from ldsmc_bench.prior.weight_files import read_weights

_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_TEXT = "text_model."
_POSITIONS = _TEXT + "embeddings.position_ids"  # 0, 1, 2, …


def files(folder: Path, ema: bool) -> dict[str, Path]:
    """The file of each network. `ema=False` is the UNet's raw weights, where the folder has them beside the average."""
    unet, raw = (folder / "unet" / f"diffusion_pytorch_model{kind}.safetensors" for kind in ("", ".non_ema"))
    return {
        "unet": unet if ema or not raw.exists() else raw,
        "first_stage": folder / "vae" / "diffusion_pytorch_model.safetensors",
        "conditioner": folder / "text_encoder" / "model.safetensors",
    }


def networks(folder: Path, model: Model, ema: bool) -> dict[str, nn.Module]:
    """The networks of a folder: unet, first_stage, conditioner; frozen, memory-mapped where they are of float32.

    Raises UserError where a file is absent or unreadable, or not exactly of `model`.
    """
    found = {}
    for name, path in files(folder, ema).items():
        weights, build = read_weights(path), builders(model)[name]
        prefix = _TEXT if name == "conditioner" else ""
        old = name == "first_stage" and any(".attentions.0.query." in key for key in weights)
        with torch.device("meta"):
            ours = build().state_dict()
        origins = {key: Origin(prefix + (_old_name(key) if old else key)) for key in ours}
        state = moved(build, origins, weights, path)
        refuse_leftovers(weights, {origin.key for origin in origins.values()} | {_POSITIONS}, path)
        found[name] = filled(build, state)
    return found


def _old_name(key: str) -> str:
    """What diffusers called a layer of the autoencoder's attention when Stable Diffusion was published."""
    for new, old in _OLD_ATTENTION.items():
        key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
    return key


def described(folder: Path) -> Model:
    """The model that the folder's config files describe.

    Raises UserError naming the first file or key that is absent or asks for another kind of network.
    """
    unet, vae, text = (_config(folder / name / "config.json") for name in ("unet", "vae", "text_encoder"))
    scheduler = _config(folder / "scheduler" / "scheduler_config.json")
    scheduler.expect("beta_schedule", "scaled_linear")
    scheduler.expect("prediction_type", "epsilon", default="epsilon")
    text.expect("hidden_act", "quick_gelu")
    first_stage = _kl_shape(vae)
    return Model(
        unet=_unet_shape(unet),
        first_stage=first_stage,
        conditioner=TextShape(
            width=text.count("hidden_size"),
            layers=text.count("num_hidden_layers"),
            heads=text.count("num_attention_heads"),
            vocabulary=text.count("vocab_size"),
            tokens=text.count("max_position_embeddings"),
        ),
        image_size=unet.count("sample_size") * 2 ** (len(first_stage.mult) - 1),
        scale=float(vae.ask("scaling_factor", 0.18215)),
        steps=scheduler.count("num_train_timesteps", 1000),
        beta_start=float(scheduler.ask("beta_start")),
        beta_end=float(scheduler.ask("beta_end")),
    )


def _config(path: Path) -> ForeignConfig:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a diffusers folder has one, fetch it anew")
    return read_foreign_config(path)


def _unet_shape(config: ForeignConfig) -> SpatialUnetShape:
    for flag in ("use_linear_projection", "class_embed_type", "addition_embed_type", "only_cross_attention"):
        config.expect(flag, False, default=False)
    config.expect("resnet_time_scale_shift", "default", default="default")
    widths = config.counts("block_out_channels")
    attends = [kind == "CrossAttnDownBlock2D" for kind in config.ask("down_block_types")]
    heads = config.counts("attention_head_dim")  # diffusers' misnomer for the number of heads
    return SpatialUnetShape(
        channels_in=config.count("in_channels"),
        channels_out=config.count("out_channels"),
        width=widths[0],
        mult=_in_units(widths),
        res_blocks=config.count("layers_per_block"),
        attention_at=tuple(2**level for level, here in enumerate(attends) if here),
        heads=heads if len(heads) == len(widths) else heads * len(widths),
        depth=config.count("transformer_layers_per_block", 1),
        context_channels=config.count("cross_attention_dim"),
    )


def _kl_shape(config: ForeignConfig) -> KlShape:
    config.expect("norm_num_groups", 32, default=32)
    widths = config.counts("block_out_channels")
    return KlShape(
        width=widths[0],
        mult=_in_units(widths),
        res_blocks=config.count("layers_per_block"),
        z_channels=config.count("latent_channels"),
    )


def _in_units(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(width // widths[0] for width in widths)

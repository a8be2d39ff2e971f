"""Stable Diffusion as diffusers keeps it: a folder with unet/, vae/, text_encoder/ and scheduler/.

diffusers builds and reads its own networks, so that a key means here whatever it means there. Keys that diffusers would
leave out, and values that it would take for something else, are refused.
"""

import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from ldsmc_bench.checkpoints.clip import EMPTY, TextShape
from ldsmc_bench.checkpoints.config import MOST_LEVELS, ForeignConfig, shown, tables
from ldsmc_bench.checkpoints.convert import Shape, build_on_meta, convert_networks, load_weights, strip_prefix
from ldsmc_bench.checkpoints.diffusers_folder import (
    BETAS,
    find_weights,
    from_pretrained,
    parts_of,
    read_settings,
    try_network,
)
from ldsmc_bench.checkpoints.model import Model
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule

CLASSES: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
_TEXT = "text_model."
_FOLDERS = {"unet": "unet", "first_stage": "vae", "conditioner": "text_encoder"}


@dataclass(frozen=True)
class Configured(Shape):
    """One of diffusers' networks, with the arguments that its config file sets."""

    part: str  # of CLASSES
    config: dict[str, Any]

    def build(self) -> nn.Module:
        return CLASSES[self.part].from_config(self.config)

    @property
    def channels_in(self) -> int:
        return self.argument("in_channels")

    @property
    def halvings(self) -> int:
        return len(self.argument("block_out_channels")) - 1

    def argument(self, name: str) -> Any:
        """The value of an argument, diffusers' default where the file does not set it."""
        return self.config.get(name, inspect.signature(CLASSES[self.part]).parameters[name].default)


def describe(folder: Path) -> Model:
    """The model that the folder's config files describe.

    Raises UserError naming the first file or key that is absent, not known, or asks for another kind of network.
    """
    files = {part: folder / part / "config.json" for part in _FOLDERS.values()}
    unet, vae = (Configured(part, read_settings(files[part], [CLASSES[part]], tables()[part])[1]) for part in CLASSES)
    denoiser, codec = build_on_meta(unet, files["unet"]), build_on_meta(vae, files["vae"])
    text = _read_text_shape(files["text_encoder"])
    latents = ("the autoencoder's latent_channels", codec.config["latent_channels"])
    texts = ("the text encoder's hidden_size", text.width)
    for key, (other, value) in {"in_channels": latents, "out_channels": latents, "cross_attention_dim": texts}.items():
        if denoiser.config[key] != value:
            raise UserError(
                f"{files['unet']}: {key} is {shown(denoiser.config[key])}, but {other} is {value}; a UNet of these "
                "latents and texts and nothing else is wanted (that of an inpainting model takes more)"
            )
    scale, side = codec.config["scaling_factor"], denoiser.config["sample_size"]
    if type(side) is not int or side < 1:
        raise UserError(f"{files['unet']}: sample_size is {shown(side)}, but must be one whole number above zero")
    if not 0 < scale < math.inf:
        raise UserError(f"{files['vae']}: scaling_factor is {scale}, but must be a number above zero")
    times = read_schedule(folder / "scheduler" / "scheduler_config.json")
    model = Model(unet, vae, text, side * 2**vae.halvings, float(scale), **times)
    z, x = (1, *model.latent_shape), (1, 3, model.image_size, model.image_size)
    states = torch.empty(1, text.tokens, text.width, device="meta")
    try_network(files["unet"], denoiser, lambda latent: denoiser(latent, torch.empty(1), states).sample, z, z)
    try_network(files["vae"], codec, lambda image: codec.encode(image).latent_dist.mean, x, z)
    try_network(files["vae"], codec, lambda latent: codec.decode(latent).sample, z, x)
    return model


def read_schedule(path: Path) -> dict[str, Any]:
    """Steps and betas of the noise levels of diffusers' own scheduler, under the names that `Model` has for them.
    Raises UserError for a scheduler of another kind of model, or a key that is not known."""
    kind, settings = read_settings(path, BETAS, tables()["scheduler"])
    names = {"steps": "num_train_timesteps", "beta_start": "beta_start", "beta_end": "beta_end"}
    defaults = inspect.signature(kind).parameters
    found = {ours: settings.get(theirs, defaults[theirs].default) for ours, theirs in names.items()}
    falls = 0 < found["steps"] <= MOST_LEVELS and 0 < found["beta_start"] <= found["beta_end"] < 1
    if not falls or not schedule.scaled_linear(*found.values())[-1] > 0:
        raise UserError(
            f"{path}: num_train_timesteps (at most {MOST_LEVELS}), beta_start and beta_end make no schedule that falls "
            "between 1 and 0"
        )
    return found


def _read_text_shape(path: Path) -> TextShape:
    config = ForeignConfig(path)
    config.tree = {key: value for key, value in config.tree.items() if not str(key).startswith("_")}
    found = config.read("text_encoder")
    width, heads, vocabulary = found["hidden_size"], found["num_attention_heads"], found["vocab_size"]
    config.expect(width % heads == 0, "hidden_size", f"but must be a multiple of {heads} here")
    config.expect(found["intermediate_size"] in (None, 4 * width), "intermediate_size", f"but must be {4 * width} here")
    config.expect(vocabulary > max(EMPTY), "vocab_size", f"but CLIP's has {max(EMPTY) + 1} at least")
    return TextShape(width, found["num_hidden_layers"], heads, vocabulary)


def read_networks(folder: Path, model: Model, ema: bool) -> tuple[dict[str, nn.Module], list[Path]]:
    """The networks of a folder, frozen and in float32, and the files that their weights are in. `ema=False` is the
    UNet's raw weights, where the folder has them beside the average.

    Raises UserError where a file is absent or unreadable, or not exactly of `model`.
    """
    networks: dict[str, nn.Module] = {}
    files: list[Path] = []
    for name, part in _FOLDERS.items():
        file, variant = find_weights(folder / part, raw=part == "unet" and not ema)
        parts = parts_of(file)
        weights = {key: tensor for one in parts for key, tensor in read_weights(one).items()}
        if part in CLASSES:
            networks[name] = from_pretrained(CLASSES[part], file, variant)
        else:  # as transformers reads it, errors would be a table, after a progress bar
            weights.pop(f"{_TEXT}embeddings.position_ids", None)  # 0, 1, 2, …
            network = build_on_meta(model.shapes[name], file)
            state = convert_networks({name: network}, model.shapes, {name: _TEXT.__add__}, weights, file)
            networks[name] = load_weights(network, strip_prefix(f"{name}.", state))
        files += parts
    return networks, files

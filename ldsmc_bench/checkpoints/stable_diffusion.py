"""Stable Diffusion as diffusers keeps it: a folder with unet/, vae/, text_encoder/ and scheduler/.

diffusers builds and reads its own networks, so that a key means here whatever it means there. Keys that diffusers would
leave out, and values that it would take for something else, are refused.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import schedulers
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from ldsmc_bench.checkpoints.clip import EMPTY, TextShape
from ldsmc_bench.checkpoints.config import MOST_LEVELS, REMEDY, ForeignConfig, shown, tables
from ldsmc_bench.checkpoints.convert import Shape, build_on_meta, convert_networks, load_weights, strip_prefix
from ldsmc_bench.checkpoints.model import Model
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule

CLASSES: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
# A scheduler's file holds the noise levels of the UNet's training and the kind of its prediction; how it steps is not
# used.
SCHEDULERS = [getattr(schedulers, name) for name in schedulers.KarrasDiffusionSchedulers.__members__]
SCHEDULERS = [kind for kind in SCHEDULERS if "beta_start" in inspect.signature(kind).parameters]
_TEXT = "text_model."
_FOLDERS = {"unet": "unet", "first_stage": "vae", "conditioner": "text_encoder"}
_PRECISIONS = ("", ".fp16", ".bf16")  # the first that is there is read


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
    unet, vae = (Configured(part, _read_settings(files[part], [CLASSES[part]], part)[1]) for part in CLASSES)
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
    _try(files["unet"], denoiser, lambda latent: denoiser(latent, torch.empty(1), states).sample, z, z)
    _try(files["vae"], codec, lambda image: codec.encode(image).latent_dist.mean, x, z)
    _try(files["vae"], codec, lambda latent: codec.decode(latent).sample, z, x)
    return model


@torch.no_grad()
def _try(path: Path, network: nn.Module, compute: Callable[[Tensor], Tensor], given: Any, wanted: Any) -> None:
    """Raises UserError unless a network without weights maps the shape `given` to the shape `wanted`, and none of its
    tensors is missing from its weights."""
    try:
        with torch.device("meta"):
            shape = tuple(compute(torch.empty(given)).shape)
        if shape != wanted:
            raise ValueError(f"its output would be {shape} and not {wanted}")
        if fixed := {name for name, _ in network.named_buffers()} - network.state_dict().keys():
            raise ValueError(f"its layers keep numbers that no file holds, {fixed.pop()}")
    except Exception as error:  # whatever a library raises where settings do not go together
        raise UserError(
            f"{path}: the network that it describes cannot be used ({' '.join(str(error).split())[:200]}); {REMEDY}"
        ) from error


def _read_settings(path: Path, classes: Sequence[Any], part: str) -> tuple[Any, dict[str, Any]]:
    """The class that a config file is of, one of `classes` (the first if it names none), and the arguments it sets.

    Arguments of any of the classes may be there, since diffusers writes one's into the file of another. Raises
    UserError for another class, a key that none of them takes, a value of another type (such as a word in quotes in
    place of true or false) or one that `part` cannot have.
    """
    config, named = ForeignConfig(path), {kind.__name__: kind for kind in classes}
    name = config.get("_class_name") or next(iter(named))
    if name not in map(str, named):
        config.refuse("_class_name", f"but this loader reads {' or '.join(named)} only")
    unset = config.get("_use_default_values") or []  # diffusers takes its own defaults for these, whatever is written
    if not isinstance(unset, list):
        config.refuse("_use_default_values", "but must be a list of keys")
    settings = {key: value for key, value in config.tree.items() if not str(key).startswith("_") and key not in unset}
    signatures = [inspect.signature(kind).parameters for kind in (named[name], *classes)]
    for key, value in settings.items():
        arguments = [arguments[key] for arguments in signatures if key in arguments]
        if not arguments:
            config.refuse(str(key), f"a key that {name} does not take; {REMEDY}, or remove a key that changes nothing")
        if not any(_fits(value, argument) for argument in arguments):
            config.refuse(key, f"but must be of type {inspect.formatannotation(arguments[0].annotation)}")
    for key, wanted in tables()[part].items():
        default = signatures[0][key].default if key in signatures[0] else wanted
        if (value := settings.get(key, default)) != wanted:
            raise UserError(f"{path}: {key} is {shown(value)}, but this loader reads {shown(wanted)} only")
    return named[name], settings


def _fits(value: object, argument: inspect.Parameter) -> bool:
    """True if a value, or each entry of a list, is of a type that the argument's annotation or default names."""
    named = set(re.findall(r"\w+", f"{argument.annotation} {type(argument.default).__name__}"))
    if isinstance(value, list):
        return bool(named & {"list", "tuple"}) and all(_fits(item, argument) for item in value)
    names = {int: {"int", "float"}, str: {"str", "Literal"}, type(None): {"None", "NoneType"}}
    return bool(named & names.get(type(value), {type(value).__name__}))


def read_schedule(path: Path) -> dict[str, Any]:
    """Steps and betas of the noise levels of diffusers' own scheduler, under the names that `Model` has for them.
    Raises UserError for a scheduler of another kind of model, or a key that is not known."""
    kind, settings = _read_settings(path, SCHEDULERS, "scheduler")
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
        file, variant = _find(folder / part, raw=part == "unet" and not ema)
        parts = parts_of(file)
        weights = {key: tensor for one in parts for key, tensor in read_weights(one).items()}
        if part in CLASSES:
            networks[name] = _from_pretrained(CLASSES[part], file, variant)
        else:  # as transformers reads it, errors would be a table, after a progress bar
            weights.pop(f"{_TEXT}embeddings.position_ids", None)  # 0, 1, 2, …
            network = build_on_meta(model.shapes[name], file)
            state = convert_networks({name: network}, model.shapes, {name: _TEXT.__add__}, weights, file)
            networks[name] = load_weights(network, strip_prefix(f"{name}.", state))
        files += parts
    return networks, files


def _from_pretrained(kind: Any, file: Path, variant: str) -> nn.Module:
    """The network of a folder as diffusers reads it. Raises UserError unless the weights are exactly its own."""
    try:
        network, found = kind.from_pretrained(
            file.parent,
            variant=variant or None,
            use_safetensors=".safetensors" in file.name,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # else it asks for another package
            local_files_only=True,
            output_loading_info=True,
        )
        for problem in ("missing", "unexpected"):
            if keys := found[f"{problem}_keys"]:
                raise ValueError(f"{problem} key {min(keys)}")
    except Exception as error:  # whatever a library raises for files that others wrote
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{file}: diffusers cannot read it ({reason}); the file and its config are of different architectures"
        ) from error
    return network.requires_grad_(False).eval()


def _find(folder: Path, raw: bool) -> tuple[Path, str]:
    """The file of a network's weights, or the index of its files, and the variant that diffusers calls it.

    As diffusers would choose: files of an index first, safetensors before pickles; then by precision.
    """
    stems = ("model", "pytorch_model") if folder.name == "text_encoder" else ("diffusion_pytorch_model",) * 2
    for variant in [f".non_ema{one}" for one in _PRECISIONS if raw] + list(_PRECISIONS):
        for stem, kind in zip(stems, ("safetensors", "bin"), strict=True):
            for name in (f"{stem}.{kind}.index{variant}.json", f"{stem}{variant}.{kind}"):
                if (folder / name).is_file():
                    return folder / name, variant[1:]
    raise UserError(
        f"{folder / stems[0]}.safetensors: no such file, nor one of {', '.join(_PRECISIONS[1:])} or .bin; "
        "put it there or set the prior's folder"
    )


def parts_of(path: Path) -> list[Path]:
    """The files of weights that `path` stands for: itself, or those that an index lists beside it.

    Raises UserError for an index that cannot be read.
    """
    if path.suffix != ".json":
        return [path]
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("its weight_map must name files beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no index of files of weights ({error}); fetch it anew") from error
    return [path.with_name(name) for name in names]

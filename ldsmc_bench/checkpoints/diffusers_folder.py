"""The files of a folder that diffusers saved: settings read strictly, weights by diffusers' own loaders."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import schedulers
from torch import Tensor, nn

from ldsmc_bench.checkpoints.config import REMEDY, ForeignConfig, shown
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.errors import UserError

# Schedulers of betas, for the noise levels and the kind of prediction in their files; how they step is not used.
BETAS = [getattr(schedulers, name) for name in schedulers.KarrasDiffusionSchedulers.__members__]
BETAS = [kind for kind in BETAS if "beta_start" in inspect.signature(kind).parameters]
_PRECISIONS = ("", ".fp16", ".bf16")  # the first that is there is read


@torch.no_grad()
def try_network(path: Path, network: nn.Module, compute: Callable[[Tensor], Tensor], given: Any, wanted: Any) -> None:
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


def read_settings(path: Path, classes: Sequence[Any], fixed: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class that a config file is of, one of `classes` (the first if it names none), and the arguments it sets.

    Arguments of any of the classes may be there, since diffusers writes one's into the file of another. Raises
    UserError for another class, a key that none of them takes, a value of another type (such as a word in quotes in
    place of true or false) or another than a `fixed` one.
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
    for key, wanted in fixed.items():
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


def from_pretrained(kind: Any, file: Path, variant: str) -> nn.Module:
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


def find_weights(folder: Path, raw: bool = False) -> tuple[Path, str]:
    """The file of a network's weights, or the index of its files, and the variant that diffusers calls it;
    `raw`: rather the weights without averaging, where both are there.

    As diffusers would choose: files of an index first, safetensors before pickles; then by precision.
    """
    stems = ("model", "pytorch_model") if folder.name.startswith("text_encoder") else ("diffusion_pytorch_model",) * 2
    for variant in [f".non_ema{one}" for one in _PRECISIONS if raw] + list(_PRECISIONS):
        for stem, kind in zip(stems, ("safetensors", "bin"), strict=True):
            for name in (f"{stem}.{kind}.index{variant}.json", f"{stem}{variant}.{kind}"):
                if (folder / name).is_file():
                    return folder / name, variant[1:]
    raise UserError(
        f"{folder / stems[0]}.safetensors: no such file, nor one of {', '.join(_PRECISIONS[1:])} or .bin; "
        "put it there or set the prior's folder"
    )


def require_weights(path: Path) -> list[Path]:
    """`parts_of(path)`. Raises UserError where one of them is no file of weights. They stay on the disk."""
    for part in (parts := parts_of(path)):
        read_weights(part)
    return parts


def parts_of(path: Path) -> list[Path]:
    """The files of weights of `path`: itself, or those that an index lists beside it.

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

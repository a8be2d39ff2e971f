"""Weights of foreign files, read without executing anything in them."""

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.errors import UserError

# Released checkpoints hold more than tensors: Lightning's callbacks, numpy scalars among the logged metrics.
_REPLACED = re.compile(r"(pytorch_lightning|lightning)\..+|numpy\.(_?core\.multiarray\.scalar|dtype)")
_HARMLESS = re.compile(rf"(torch|collections)\.|({_REPLACED.pattern})$")
_TORCH_ASKED = re.compile(r"GLOBAL ([\w.]*\w)")
_LEGACY_PICKLES = 5  # a checkpoint of torch < 1.6 is five pickles in a row, then raw storages


class _StandIn:
    """A training framework's object that accepts anything, keeps nothing and does nothing."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a `.safetensors` file, memory-mapped, or of a torch checkpoint; nothing in it is executed.

    Raises UserError for a file that is absent, truncated or of neither kind, or whose pickle asks for anything else.
    """
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; put it there or set the prior's folder")
    try:
        return load_file(path)
    except Exception as error:  # a parser of arbitrary bytes may raise anything
        raise UserError(f"{path}: cannot be read, the file is truncated or not safetensors; fetch it anew") from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights of a `.ckpt` or `.pt` file: its `state_dict` where it has one, else the file's own dictionary.

    torch's restricted unpickler decides what may be built; Lightning's classes become inert stand-ins. Tensors are
    memory-mapped where the format allows it, so that only weights that are used are read.
    Raises UserError for a file that is absent, truncated, not a dictionary of tensors, or that asks for anything else
    than tensors (the line names what it asked for).
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; put the file there or set the prior's folder")
    asked = list(_asked_for(path))
    stand_ins: list[object] = [(_StandIn, name) for name in asked if _REPLACED.fullmatch(name)]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # torch warns of an unusual pickle protocol before it refuses
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # a parser of arbitrary bytes may raise anything
        # torch names what it refuses, but gives up early on new protocols
        named = _TORCH_ASKED.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        culprit = named[1] if named else next((name for name in asked if not _HARMLESS.match(name)), None)
        if culprit and isinstance(error, pickle.UnpicklingError):
            line = f"{path}: refused, its pickle asks for {culprit}, which weights never need; fetch it anew"
        else:
            line = f"{path}: cannot be read, the file is truncated or not a torch checkpoint; fetch it anew"
        raise UserError(line) from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise UserError(f"{path}: holds no dictionary of weights; it is not a checkpoint of a known layout")
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {key} is not a tensor; it is not a checkpoint of a known layout")
    return dict(weights)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _asked_for(path: Path) -> Iterator[str]:
    """Every name that the file's pickles would import, found without building anything.

    Only for messages and for choosing stand-ins: torch decides what may be built.
    """
    try:
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if entry.endswith("data.pkl"):
                        yield from _imports(archive.read(entry))
            return
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                yield from _imports(file)
    except Exception:  # a parser of arbitrary bytes may raise anything; torch will say that they are no checkpoint
        return


def _imports(stream: Any) -> Iterator[str]:
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)

"""Files that take minutes to compute, in folders of the package and, those that the user has made, of the cache."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ldsmc_bench.files import cache_folder, replacing
from ldsmc_bench.toyfaces.assets import check_digest, note_digest


def shipped(folder: str) -> Path:
    """The folder of the package."""
    return Path(__file__).with_name(folder)


def find(folder: str, file: str) -> Iterator[Path]:
    """The package's file of this name, then the user's own. Raises UserError for a changed one."""
    for place in (shipped(folder), cache_folder() / folder):
        if (path := place / file).exists():
            check_digest(path)
            yield path


def keep(folder: str, file: str, tensors: dict[str, Tensor], facts: Mapping[str, Any], *, ship: bool) -> Path:
    """Write a file, with `facts` of its making, where `find` finds it: with `ship` in the package. Raises UserError
    where it cannot be written."""
    path = (shipped(folder) if ship else cache_folder() / folder) / file
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"made": json.dumps({**facts, "torch": torch.__version__})}))
    note_digest(path)
    return path

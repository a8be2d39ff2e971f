"""Weights that ship with the package: their place, their training, their digests."""

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import file_digest

ASSETS = Path(__file__).with_name("weights")
M = TypeVar("M", bound=nn.Module)


def load(module: M, path: Path) -> M:
    """Fill `module` with the weights of a file, frozen. Raises UserError if it is missing or of another network."""
    check_digest(path)
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except Exception as error:
        raise UserError(f"{path}: not the weights of this network: {str(error).splitlines()[-1].strip()}") from error
    return module.eval().requires_grad_(False)


def training_facts(path: Path) -> dict[str, Any]:
    """The command, seed, minutes and machine that trained the weights in `path`. Raises UserError if it names none."""
    check_digest(path)
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["made"])
    except Exception as error:  # safetensors' own, of any kind
        raise UserError(f"{path}: no weights that `train` wrote: they do not say how they were made") from error


def check_digest(path: Path) -> None:
    """Raise UserError for a missing file, or one that differs from `digests.json` beside it."""
    if not path.exists():
        raise UserError(f"{path}: weights are missing; restore the file from the repository")
    digest = file_digest(path)
    if _digests(path).get(path.name, digest) != digest:
        raise UserError(f"{path}: SHA-256 differs from the one in digests.json; restore the file from the repository")


def note_digest(path: Path) -> None:
    """Make `path` the file that `check_digest` expects from now on."""
    digests = {**_digests(path), path.name: file_digest(path)}
    path.with_name("digests.json").write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")


def _digests(path: Path) -> dict[str, str]:
    listed = path.with_name("digests.json")
    return json.loads(listed.read_text()) if listed.exists() else {}

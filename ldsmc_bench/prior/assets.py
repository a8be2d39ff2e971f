"""Weights that ship with the package: where they are, what made them, whether they are the ones that were shipped."""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ldsmc_bench.errors import UserError

ASSETS = Path(__file__).parent.parent / "assets"
M = TypeVar("M", bound=nn.Module)


def load(module: M, path: Path) -> M:
    """Fill `module` with the weights of a safetensors file; frozen, ready for evaluation.

    Raises UserError where the file is missing or does not hold exactly the weights of this network.
    """
    check_digest(path)
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except Exception as error:
        raise UserError(f"{path}: not the weights of this network: {str(error).splitlines()[-1].strip()}") from error
    return module.eval().requires_grad_(False)


def made(path: Path) -> dict[str, Any]:
    """How the weights in `path` came about: command, seed, minutes, machine."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["made"])


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path) -> None:
    """Compare a shipped file with `digests.json` beside it.

    Raises UserError where the file is missing or is not the one that was shipped.
    """
    listed = path.parent / "digests.json"
    expected = json.loads(listed.read_text()).get(path.name) if listed.exists() else None
    if not path.exists():
        raise UserError(f"{path}: weights are missing; restore the file from the repository")
    if expected is not None and digest(path) != expected:
        raise UserError(f"{path}: SHA-256 differs from the one in {listed.name}; restore the file from the repository")


def note_digest(path: Path) -> None:
    """Make `path` the file that `check_digest` expects from now on."""
    listed = path.parent / "digests.json"
    digests = json.loads(listed.read_text()) if listed.exists() else {}
    listed.write_text(json.dumps({**digests, path.name: digest(path)}, indent=2, sort_keys=True) + "\n")

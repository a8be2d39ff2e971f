"""The code that computes a run: commit, versions, machine. Kept beside results; no part of a run's identity."""

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.files import file_digest
from ldsmc_bench.records.identity import OURS

if TYPE_CHECKING:
    import torch


@cache
def code_version(sampler: str, operator: str | None = None) -> dict[str, Any]:
    """The code of a sampler and of a task's operator, dotted paths: this checkout's `commit`, whether it is `clean`,
    and, for functions from elsewhere (`sampler`, `operator`), the path and the first 12 hex digits of the SHA-256 of
    its file, as `mine.sample 0123456789ab`. `commit` is None outside a checkout."""
    found = dict(commit())
    for name, target in {"sampler": sampler, "operator": operator}.items():
        if target and target.split(".")[0] not in OURS:
            from hydra.utils import get_object  # slow to import, and `status` does without

            get_object(target)  # imports its module
            parts = target.split(".")
            names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            module = next(sys.modules[one] for one in names if one in sys.modules)
            if file := getattr(module, "__file__", None):
                found[name] = f"{target} {file_digest(Path(file))[:12]}"
    return found


@cache
def commit() -> dict[str, Any]:
    """`commit`, None outside a git checkout, and whether tracked files are as committed (`clean`)."""
    folder = Path(__file__).parent
    try:
        return {
            "commit": _git(folder, "rev-parse", "HEAD"),
            "clean": not _git(folder, "status", "--porcelain", "--untracked-files=no"),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "clean": False}


def config_text(identity: Mapping[str, Any], device: "torch.device") -> str:
    """A run's config.yaml: its identity, with commit, versions, machine and device as comments."""
    from torch import cuda  # slow to import, as above

    name = cuda.get_device_name(device) if device.type == "cuda" else device.type
    packages = ", ".join(f"{name} {version(name)}" for name in ("ldsmc_bench", "torch", "diffusers", "numpy"))
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    comments = f"# commit: {_words(commit())}\n# versions: {packages}\n# machine: {machine}\n# device: {name}\n"
    return comments + yaml.safe_dump(identity, sort_keys=False, allow_unicode=True)


def compare_code(run_id: str, ours: Mapping[str, Any], kept: Iterable[Mapping[str, Any] | None], *, mix: bool) -> None:
    """Warn where a run's records were computed by other code than `ours`; with `mix` False, raise UserError instead.

    Raises UserError where another function of the same name computed them. In a file of the same content it is the same
    function, moved.
    """
    others = set()
    for code in kept:
        for name, key in (("sampler", "method"), ("operator", "task")):
            target, _, digest = str(ours.get(name, "")).partition(" ")
            theirs, _, their_digest = str((code or {}).get(name, "")).partition(" ")
            if target and theirs and target != theirs and digest != their_digest:
                raise UserError(
                    f"{key}: {run_id} was computed by {theirs}, and {target} of the same name is another function; "
                    f"give it a name of its own with {key}.name=..., or +{key}.version=2 if it takes the other's place"
                )
        if _compared(code) != _compared(ours):
            others.add(_words(code))
    if not others:
        return
    theirs = " and ".join(sorted(others))
    line = f"{run_id}: some of its images were computed by the code at {theirs}; the code is now at {_words(ours)}"
    if not mix:
        raise UserError(f"mix_code=false: {line}; go back to that commit, or choose another results_dir")
    warn(f"{line}; if results differ, choose another results_dir (mix_code=false refuses to go on)")


def _compared(code: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Without the paths of functions, which may move."""
    return {name: str(value).split(" ")[-1] for name, value in (code or {}).items()}


def _words(code: Mapping[str, Any] | None) -> str:
    if not code:
        return "unknown"
    changed = "" if code.get("clean") or not code.get("commit") else " with changes"
    files = "".join(f", {name} {code[name]}" for name in ("sampler", "operator") if name in code)
    return f"{code.get('commit') or 'no commit'}{changed}{files}"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()

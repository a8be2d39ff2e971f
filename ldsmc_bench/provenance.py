"""What made a run: commit, versions, machine. Kept as comments, since none of it is part of the run's identity."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def provenance() -> dict[str, str]:
    """The git commit (marked where files were changed since), the versions of what computes, and the platform."""
    packages = ("ldsmc_bench", "torch", "diffusers", "numpy")
    return {
        "commit": commit(),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def commit() -> str:
    """`<hash>`, `<hash> with changes`, or `unknown` outside a git checkout."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head} with changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()

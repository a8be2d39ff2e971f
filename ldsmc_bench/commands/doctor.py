"""A look at GPU, weights, data, W&B, SLURM and LaTeX: is each there, and which command brings it?

Nothing is downloaded, and nothing but this program's own weights has to be there: the exit code is 1 without these.
"""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ldsmc_bench import __version__
from ldsmc_bench.cli import Options, entry
from ldsmc_bench.fetch.sources import SOURCES, describe_state, format_size, place
from ldsmc_bench.files import cache_folder
from ldsmc_bench.text import printable, text_table

PAGES = {  # of data sets that everybody gets from their publishers
    "ffhq": "https://github.com/NVlabs/ffhq-dataset",
    "imagenet": "https://www.image-net.org/download.php",
}
# The extra of pyproject.toml that brings each package.
EXTRAS = {"optuna": "tune", "wandb_workspaces": "dashboard", "transformers": "text", "deepinv": "physics"}
LATEX = "apt-get install texlive-latex-base texlive-latex-recommended"


class Finding(NamedTuple):
    """A line: whether it is there, what it is, its state, and what brings it."""

    there: bool
    what: str
    state: str
    remedy: str = ""


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each thing; the exit code is 0, or 1 where the embedded weights are missing."""
    parser = Options("doctor", __doc__, results_dir=True)
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object a line")
    options = parser.read(arguments)
    found = list(examine(Path(options.results_dir)))
    if options.json:
        print(json.dumps([one._asdict() for one in found], indent=2))
    else:
        columns = {
            "": ["ok" if one.there else "--" for one in found],
            "what": [one.what for one in found],
            "state": [one.state for one in found],
            "how to get it": [one.remedy for one in found],
        }
        print(printable(text_table(columns, left=columns)))
    return int(any(one.what == "embedded weights" and not one.there for one in found))


def examine(results_dir: Path) -> Iterator[Finding]:
    """The findings, those that every run needs first."""
    yield Finding(True, "ldsmc_bench", f"{__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    yield gpu()
    yield embedded_weights()
    for folder, name in ((results_dir, "results_dir"), (cache_folder(), "cache")):
        parent = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
        room, free = os.access(parent, os.W_OK), format_size(shutil.disk_usage(parent).free)
        yield Finding(room, name, f"{folder}, {free} free", "" if room else f"make {parent} writable")
    for name, source in SOURCES.items():
        state, there = describe_state(name, source, SOURCES), place(name, source).is_file()
        by_hand = "" if source.url else f" from=FILE, from {source.page.partition(' (')[0]}"
        yield Finding(there, name, state, "" if there else f"python -m ldsmc_bench fetch {name}{by_hand}")
    for name, page in PAGES.items():
        root = f"dataset={name} dataset.root=FOLDER"
        yield Finding(False, f"dataset={name}", "yours to name", f"{page}; python -m ldsmc_bench preflight {root}")
    for package, extra in EXTRAS.items():
        there = find_spec(package) is not None
        missing = () if there else ("not installed", f"in the checkout, pip install '.[{extra}]'")
        yield Finding(there, package, *(missing or ("",)))
    yield wandb_key()
    yield slurm()
    latex = shutil.which("pdflatex")
    yield Finding(bool(latex), "LaTeX", latex or "no pdflatex; .tex files are made without", "" if latex else LATEX)


def gpu() -> Finding:
    """The GPUs that PyTorch sees, or why it sees none."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        cards = ", ".join(f"{one.name} {format_size(one.total_memory)}" for one in names)
        return Finding(True, "GPU", f"{cards}, torch {torch.__version__}")
    state = f"none, runs take the CPU (torch {torch.__version__})"
    if shutil.which("nvidia-smi") is None:
        return Finding(False, "GPU", state)
    if torch.version.cuda is None:
        return Finding(False, "GPU", f"{state}, which is built without CUDA", "https://pytorch.org/get-started/locally")
    return Finding(False, "GPU", f"{state}, built for CUDA {torch.version.cuda}", "nvidia-smi shows the driver's")


def embedded_weights() -> Finding:
    """The files that come with the program."""
    from ldsmc_bench.toyfaces.assets import ASSETS

    files = [*ASSETS.glob("*.safetensors")]
    remedy = "" if files else "git restore ldsmc_bench/toyfaces/weights, or install anew"
    return Finding(bool(files), "embedded weights", f"{len(files)} networks of drawn faces", remedy)


def wandb_key() -> Finding:
    """The finding: has W&B a key, so that wandb.mode=online can work?"""
    import wandb

    from ldsmc_bench.tracking.follow import quiet

    try:
        with quiet():
            there = bool(wandb.login(prompt=False, verify=False))
    except Exception:  # W&B's own, of any kind: a damaged key too
        there = False
    state = "a key is there" if there else "no key: runs are mirrored offline"
    return Finding(there, "W&B", state, "" if there else "wandb login, or set WANDB_API_KEY")


def slurm() -> Finding:
    """The finding: can jobs be submitted from this machine?"""
    sbatch = shutil.which("sbatch")
    state = sbatch or "no sbatch: runs stay on this machine"
    return Finding(bool(sbatch), "SLURM", state, "" if sbatch else "log in to a cluster's head node")

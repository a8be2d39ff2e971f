"""Facts of a run for the page, beside its numbers: its configuration, command, code, machine and W&B run."""

import shlex
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from ldsmc_bench.cli import DEFAULT
from ldsmc_bench.records.store import Store
from ldsmc_bench.report import frame
from ldsmc_bench.text import printable

HIDDEN = ("results_dir=", "hydra.")  # overrides that say where a command ran, which may be elsewhere than here


def commands(results_dir: Path) -> dict[str, str]:
    """By run id the last command of this folder that made the run, or went on with it."""
    found, here = {}, [] if str(results_dir) == DEFAULT else [f"results_dir={results_dir}"]
    for job in frame.jobs(results_dir):
        if job.run_id:
            words = [word for word in job.overrides if not word.lstrip("+~").startswith(HIDDEN)]
            found[job.run_id] = printable(f"python -m ldsmc_bench {shlex.join([*words, *here])}".strip())
    return found


def about(store: Store, run: Mapping[Hashable, Any], command: str | None) -> dict[str, Any]:
    """`config` by dotted name, `made` (commit, versions and machine, as the run noted them), `command`, `wandb`, the
    address of the W&B run, or the command that uploads it; None for what is unknown."""
    try:
        lines = (store.root / "config.yaml").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    noted = (line[2:].partition(": ") for line in lines if line.startswith("# "))
    return {
        "config": {**run[frame.IDENTITY], "seed": str(run["seed"])},
        "made": {key: printable(value) for key, _, value in noted if value},
        "command": command,
        "wandb": _wandb(store),
    }


def _wandb(store: Store) -> str | None:
    folder = store.results_dir / "wandb"
    try:
        return (folder / f"{store.run_id}.url").read_text(encoding="utf-8").strip()
    except OSError:
        offline = sorted(path.name for path in folder.glob(f"offline-run-*-{store.run_id}"))
        return f"wandb sync {shlex.quote(printable(str(folder / offline[-1])))}" if offline else None

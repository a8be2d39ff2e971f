"""Sweeps of a method that can be held and disturbed, and what they leave behind."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from tests.commands import LIGHT, Running, images, repeatable, runs, start

HERE = Path(__file__).parent
SWEEP = (
    *("--config-dir", str(HERE / "conf"), "-m", "method=gated", "task=box", "steps=2", "batch_size=1"),
    *("device=cpu", "wandb.mode=disabled"),
    *LIGHT,  # the method asks no network: a job need not import them
)
SLURM = ("hydra/launcher=slurm", "hydra.launcher.mem_gb=4", "hydra.launcher.cpus_per_task=1")


def sweep(folder: Path, *arguments: str) -> Running:
    """Start a sweep in `folder`, whose file `log` tells then who is at which images, and where gates are files."""
    environment = {
        "SLURM_CONF": os.environ.get("SLURM_CONF", ""),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE.parent.parent),
        "OMP_NUM_THREADS": "1",
        "GATES": str(folder),
    }
    return start(folder, *SWEEP, *arguments, first=partial(_set, environment))


def open_gates(folder: Path, *particles: int) -> None:
    """Let the runs with so many particles pass."""
    for number in particles:
        (folder / str(number)).touch()


def told(folder: Path, **wanted: Any) -> list[dict[str, Any]]:
    """Who was at which images, in the order of time."""
    lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if all(entry[key] == value for key, value in wanted.items())]


def by_particles(folder: Path) -> dict[int, Path]:
    return {json.loads((run / "requested.json").read_text())["particles"]: run for run in runs(folder)}


def assert_whole(run: Path, local: Path) -> None:
    """The rows, pictures and summary of a run made at home, each once; nothing half-written, nothing left over."""
    assert run.name == local.name
    assert repeatable(run) == repeatable(local)
    assert images(run) == images(local)
    summary, wanted = (json.loads((one / "summary.json").read_text()) for one in (run, local))
    assert {**summary, "cost": None} == {**wanted, "cost": None}
    names = {path.name for path in (run / "records").iterdir()}
    assert names == {path.name for path in (local / "records").iterdir()}


def _set(environment: dict[str, str]) -> None:
    os.environ.update(environment)

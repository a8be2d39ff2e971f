"""Notes of what became of each job of a command, `launches/<launch>/<number>.json` in the results.

Hydra's own folders may lie anywhere and be used twice; these are named by the launch alone.
"""

import json
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import publish, replace


@dataclass(frozen=True)
class Job:
    """A job: its number in the command, its overrides, where its log is, its configuration (not resolved), and in the
    end its run, or the error that prevented one, which may be a `mistake` of the user's. `job` is its name in SLURM's
    words, `12_3` in an array."""

    number: int
    overrides: list[str]
    log: str
    config: dict[str, Any] | None = None
    run_id: str | None = None
    error: str | None = None
    mistake: bool = False
    job: str = ""

    @property
    def asked(self) -> DictConfig:
        return OmegaConf.create(self.config or {})


@dataclass(frozen=True)
class Launch:
    """A command: the folder of its jobs' notes, how many jobs there are if that is known, the keys that it sweeps, and
    whether it waits for its jobs."""

    folder: str
    points: int | None = 1
    swept: list[str] = field(default_factory=list)
    waits: bool = True


def new_launch(results_dir: str | Path) -> Path:
    """An unused folder for the notes of one command; the first note creates it."""
    return Path(results_dir) / "launches" / f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}-{secrets.token_hex(3)}"


def launch_of(hydra: Any) -> Launch:
    """The launch that a job belongs to, in any process. Raises UserError where it is unknown."""
    if (known := OmegaConf.select(hydra, "callbacks.launch.known")) is None:
        raise UserError("hydra.callbacks.launch: without it nothing is known of a command's jobs; leave it as it is")
    return Launch(**json.loads(known))


def keep(launch: Path, job: Job, *, over: bool = True) -> None:
    """Write the note of a job; `over` an earlier one or not. Raises OSError."""
    launch.mkdir(parents=True, exist_ok=True)
    (replace if over else publish)(note(launch, job.number), json.dumps(asdict(job), default=str).encode())


def note(launch: Path, number: int) -> Path:
    return launch / f"{number}.json"


def kept(launch: Path) -> list[Job]:
    """The jobs of a launch that left a note, by number; damaged notes are ignored."""
    jobs = []
    for path in launch.glob("[0-9]*.json"):
        with suppress(OSError, ValueError, TypeError):
            jobs.append(Job(**json.loads(path.read_bytes())))
    return sorted(jobs, key=lambda job: job.number)

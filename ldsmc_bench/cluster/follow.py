"""How the jobs of runs do: the notes that they left, what SLURM says of them where it answers, the pace of records."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ldsmc_bench.cluster import queue
from ldsmc_bench.cluster.notes import Note, Submitted, notes, submissions
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.status import RunStatus

LEAST, WINDOW = 10.0, 3600.0  # seconds: the pace is that of the last hour, and of no shorter time than the first


@dataclass(frozen=True)
class Job:
    """A job of a run: SLURM's word for its state (`unknown` where it does not answer), and its log."""

    job: str
    state: str
    log: str | None


@dataclass(frozen=True)
class Progress:
    """What goes on in a run: how many of the missing images are in the hands of `running` jobs, the pace, and when the
    missing ones will be there at that pace (ISO 8601)."""

    running: int = 0
    jobs: list[Job] = field(default_factory=list)
    images_per_hour: float | None = None
    ends: str | None = None


def follow(results_dir: str | Path, rows: Sequence[RunStatus]) -> tuple[list[Progress], list[tuple[Submitted, str]]]:
    """The progress of each run, and the jobs that have not begun with one, each with its state.

    A job that ended is told only where it left images undone. Raises UserError if the results cannot be read.
    """
    folders = {row.run_id: Path(results_dir) / "runs" / row.run_id for row in rows if not row.complete}
    noted = {run_id: notes(folder) for run_id, folder in folders.items()}
    begun = {note.job for run in noted.values() for note in run}
    submitted = submissions(Path(results_dir))
    live = queue.live() if (submitted or begun) and shutil.which("squeue") else None
    ended = queue.ended(begun - live.keys()) if live is not None else {}
    states = {job: "unknown" if live is None else live.get(job) or ended.get(job, "ended") for job in begun}
    progress = [
        _progress(row.missing, folders[row.run_id], noted[row.run_id], states) if row.run_id in folders else Progress()
        for row in rows
    ]
    not_begun = [job for job in submitted if job.job not in begun]
    return progress, [(job, live[job.job]) for job in not_begun if live is not None and job.job in live]


def columns(progress: Sequence[Progress]) -> dict[str, list[str]]:
    """The progress of runs for a terminal, without what nothing is known of."""
    told = {
        "running": [str(one.running) for one in progress],
        "jobs": [", ".join(f"{n} {state}" for state, n in _counted(one.jobs).items()) for one in progress],
        "images/h": ["" if one.images_per_hour is None else f"{one.images_per_hour:.3g}" for one in progress],
        "ends": ["" if one.ends is None else one.ends[:16].replace("T", " ") for one in progress],
    }
    return {name: cells for name, cells in told.items() if any(cell not in ("", "0") for cell in cells)}


def _counted(jobs: Sequence[Job]) -> Mapping[str, int]:
    return Counter(job.state.lower() for job in jobs)


def _progress(missing: int, folder: Path, noted: Sequence[Note], states: Mapping[str, str]) -> Progress:
    there = _written(folder)
    undone = [note for note in noted if not there.keys() >= set(note.images)]
    running = [note for note in undone if states[note.job] == "RUNNING"]
    now = time.time()
    begun = [datetime.fromisoformat(note.begun).timestamp() for note in running]
    since = max(now - WINDOW, min(begun, default=(folder / "config.yaml").stat().st_mtime))
    lately = sum(written >= since for written in there.values())
    pace = 3600 * lately / (now - since) if lately and missing and now - since >= LEAST else None
    ends = None if pace is None else datetime.fromtimestamp(now + 3600 * missing / pace).astimezone()
    return Progress(
        running=len({image_id for note in running for image_id in note.images} - there.keys()),
        jobs=[Job(note.job, states[note.job], note.log) for note in undone],
        images_per_hour=pace,
        ends=None if ends is None else ends.isoformat(timespec="seconds"),
    )


def _written(folder: Path) -> dict[str, float]:
    """When each record was written, by image."""
    try:
        with os.scandir(folder / "records") as entries:
            files = [entry for entry in entries if entry.name.endswith(".json") and not entry.name.startswith(".")]
            return {entry.name.removesuffix(".json"): entry.stat().st_mtime for entry in files}
    except OSError as error:
        raise UserError(f"{folder / 'records'} cannot be read ({error.strerror}): check results_dir") from error

"""SLURM's jobs: the notes that they leave in the results, their states, and the progress of runs.

The launcher notes the jobs that it submitted in a launch's `submitted-<first>.json`. A job that begins with a run notes
that in the run's `jobs/<shard>-of-<shards>.json`, over the note of an earlier job of that shard.
"""

import getpass
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import replace, writing
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.records.jobs import Job
from ldsmc_bench.records.status import RunStatus
from ldsmc_bench.records.store import Store, draw_stores

if TYPE_CHECKING:  # `status` reads notes without PyTorch
    from ldsmc_bench.running.context import Run

ANSWER_WITHIN = 60.0  # seconds; a busy controller may take some
LEAST, WINDOW = 10.0, 3600.0  # seconds: the pace is that of the last hour, and never of less than the first


@dataclass(frozen=True)
class JobNote:
    """A job, when it began with a run (ISO 8601), its log, and the draws that it found unfinished."""

    job: str
    begun: str
    log: str | None
    images: list[str]


@dataclass(frozen=True)
class JobState:
    """A job of a run: its state in SLURM's words (`unknown` without an answer of SLURM), and its log."""

    job: str
    state: str
    log: str | None


@dataclass(frozen=True)
class Progress:
    """The progress of a run: the number of missing images that `running` jobs work on, the pace, and the end at that
    pace (ISO 8601)."""

    running: int = 0
    jobs: list[JobState] = field(default_factory=list)
    images_per_hour: float | None = None
    ends: str | None = None


@contextmanager
def observe(run: "Run") -> Iterator[None]:
    """Note the images that this process is about to restore, if it is a job of SLURM."""
    if (job := this_job()) is not None:
        store, shard, shards = run.store, run.settings.shard, run.settings.shards
        submitit = os.environ.get("SUBMITIT_FOLDER")
        log = None if submitit is None else f"{submitit.replace('%j', job)}/{job}_0_log.err"
        note = JobNote(job, _iso(time.time()), log, [draw.trial_id for batch in run.batches for draw in batch])
        with writing(store.root):
            (store.root / "jobs").mkdir(exist_ok=True)
            replace(store.root / "jobs" / f"{shard}-of-{shards}.json", (json.dumps(asdict(note)) + "\n").encode())
    yield


def this_job() -> str | None:
    """This process's job, `12_3` in an array; None outside SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def queued_jobs() -> dict[str, str] | None:
    """The state of each of this user's jobs that has not ended, as {"12_3": "RUNNING"}; None without an answer.

    One query for all jobs, however many: a controller is shared by everybody.
    """
    lines = _query("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T")
    return None if lines is None else dict(line.split("|", 1) for line in lines)


def ended_jobs(jobs: Collection[str]) -> dict[str, str]:
    """The ends of the jobs that SLURM's accounting knows, as {"12_3": "FAILED 7:0"}: exit code, then signal."""
    if not jobs:
        return {}
    options = ("--noheader", "--allocations", "--parsable2", "--format=JobID,State,ExitCode")
    arrays = ",".join(sorted({job.split("_")[0] for job in jobs}))
    lines = _query("sacct", *options, f"--jobs={arrays}") or []
    states = {job: f"{state} {code}" for job, state, code in (line.split("|") for line in lines)}
    return {job: state for job, state in states.items() if job in jobs}


def job_progress(results_dir: str | Path, rows: Sequence[RunStatus]) -> tuple[list[Progress], list[tuple[Job, str]]]:
    """The progress of each run, and the jobs that have not begun with one, each with its state.

    A job that has ended is listed only if it left images undone. Raises UserError if the results cannot be read.
    """
    files = sorted((Path(results_dir) / "launches").glob("*/submitted-*.json"))  # of all launches, the earliest first
    submitted = [Job(**job) for file in files for job in json.loads(file.read_bytes())]
    folders = {row.run_id: Path(results_dir) / "runs" / row.run_id for row in rows if not row.complete}
    notes = {run_id: _read_notes(folder) for run_id, folder in folders.items()}
    begun = {note.job for of_run in notes.values() for note in of_run}
    queued = queued_jobs() if (submitted or begun) and shutil.which("squeue") else None
    ended = ended_jobs(begun - queued.keys()) if queued is not None else {}
    states = {job: "unknown" if queued is None else queued.get(job) or ended.get(job, "ended") for job in begun}
    progress = [
        _progress(row.missing, folders[row.run_id], notes[row.run_id], states) if row.run_id in folders else Progress()
        for row in rows
    ]
    waiting = [one for one in submitted if one.job not in begun and one.job in (queued or ())]
    return progress, [(one, queued[one.job]) for one in waiting if queued]


def progress_columns(progress: Sequence[Progress]) -> dict[str, list[str]]:
    """The progress of runs as columns of text, without empty ones."""
    counts = [Counter(job.state.lower() for job in one.jobs) for one in progress]
    columns = {
        "running": [str(one.running) for one in progress],
        "jobs": [", ".join(f"{n} {state}" for state, n in count.items()) for count in counts],
        "images/h": ["" if one.images_per_hour is None else f"{one.images_per_hour:.3g}" for one in progress],
        "ends": ["" if one.ends is None else one.ends[:16].replace("T", " ") for one in progress],
    }
    return {name: cells for name, cells in columns.items() if any(cell not in ("", "0") for cell in cells)}


def _progress(missing: int, folder: Path, notes: Sequence[JobNote], states: Mapping[str, str]) -> Progress:
    written = _record_times(folder)
    undone = [note for note in notes if not written.keys() >= set(note.images)]
    running = [note for note in undone if states[note.job] == "RUNNING"]
    now = time.time()
    begun = [datetime.fromisoformat(note.begun).timestamp() for note in running]
    since = max(now - WINDOW, min(begun, default=(folder / "config.yaml").stat().st_mtime))
    lately = sum(at >= since for at in written.values())
    pace = 3600 * lately / (now - since) if lately and missing and now - since >= LEAST else None
    ends = None if pace is None else _iso(now + 3600 * missing / pace)
    in_hand = {image_id for note in running for image_id in note.images} - written.keys()
    return Progress(len(in_hand), [JobState(note.job, states[note.job], note.log) for note in undone], pace, ends)


def _record_times(folder: Path) -> dict[str, float]:
    """The time at which each record was written, by its draw's `trial_id`."""
    with _reading(folder / "records"):
        stores = draw_stores(Store(folder, folder.name))
        paths = [(path, one.draw) for one in stores for path in (one.folder / "records").glob("[!.]*.json")]
        return {Draw(path.stem, number).trial_id: path.stat().st_mtime for path, number in paths}


def _read_notes(run: Path) -> list[JobNote]:
    """The notes of a run, in the order of their jobs."""
    with _reading(run / "jobs"):
        notes = [JobNote(**json.loads(path.read_bytes())) for path in (run / "jobs").glob("*-of-*.json")]
    return sorted(notes, key=lambda note: [int(part) for part in note.job.split("_")])


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check results_dir") from error


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _query(*command: str) -> list[str] | None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_WITHIN, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]

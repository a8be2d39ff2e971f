"""What is noted of SLURM's jobs.

By the launcher, in a sweep's `submitted.json`: what it submitted. By a job, in `jobs/<shard>-of-<shards>.json` of the
run that it works on: that it has begun; the latest job of a shard stands there.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import replace, writing
from ldsmc_bench.records.store import Store


@dataclass(frozen=True)
class Submitted:
    """A job of a sweep: its point's number, which names its folder, and where its stderr goes."""

    job: str
    number: int
    overrides: list[str]
    log: str


@dataclass(frozen=True)
class Note:
    """A job, when it began with a shard (ISO 8601), where its log is, and the images that it found unfinished."""

    job: str
    shard: int
    shards: int
    begun: str
    log: str | None
    images: list[str]


def note(store: Store, shard: int, shards: int, unfinished: Sequence[Sequence[str]]) -> None:
    """Leave a note where this process is a job of SLURM, with the batches that it is about to do."""
    job = this_job()
    if job is None:
        return
    submitit = os.environ.get("SUBMITIT_FOLDER")
    log = None if submitit is None else f"{submitit.replace('%j', job)}/{job}_0_log.err"
    begun = datetime.now().astimezone().isoformat(timespec="seconds")
    images = [image_id for batch in unfinished for image_id in batch]
    content = Note(job, shard, shards, begun, log, images)
    with writing(store.root):
        (store.root / "jobs").mkdir(exist_ok=True)
        replace(store.root / "jobs" / f"{shard}-of-{shards}.json", (json.dumps(asdict(content)) + "\n").encode())


def notes(run: Path) -> list[Note]:
    """The notes of a run, in the order of their jobs. Raises UserError if they cannot be read."""
    try:
        found = [Note(**json.loads(path.read_bytes())) for path in (run / "jobs").glob("*-of-*.json")]
    except OSError as error:
        raise UserError(f"{run / 'jobs'} cannot be read ({error.strerror}): check results_dir") from error
    return sorted(found, key=lambda one: [int(part) for part in one.job.split("_")])


def submissions(results_dir: Path) -> list[Submitted]:
    """All jobs that were ever submitted with this results folder, the earliest first."""
    files = sorted((results_dir / "logs").glob("*/submitted.json"))
    return [Submitted(**job) for file in files for job in json.loads(file.read_bytes())]


def this_job() -> str | None:
    """This process's job, `12_3` in an array; None outside SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")

"""What a job of SLURM notes in the run that it works on: `jobs/<shard>-of-<shards>.json`, the latest job of a shard."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import replace, writing
from ldsmc_bench.records.store import Store


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


def notes(store: Store) -> list[Note]:
    """The notes of a run, in the order of their jobs. Raises UserError if they cannot be read."""
    try:
        found = [Note(**json.loads(path.read_bytes())) for path in (store.root / "jobs").glob("*-of-*.json")]
    except OSError as error:
        raise UserError(f"{store.root / 'jobs'} cannot be read ({error.strerror}): check results_dir") from error
    return sorted(found, key=lambda one: [int(part) for part in one.job.split("_")])


def this_job() -> str | None:
    """This process's job, `12_3` in an array; None outside SLURM."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")

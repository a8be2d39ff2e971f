"""A record: one image's row, and the JSON text that it is kept as."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import orjson

from ldsmc_bench.errors import UserError

STATUSES = ("ok", "failed", "skipped")


class Record(TypedDict):
    """What became of one image. `status` is `ok`, `failed`, or `skipped` where the method cannot do the task at all;
    `error` says why, and is absent when it is `ok`."""

    run_id: str
    image_id: str
    method: str
    task: str
    dataset: str
    seed: int
    steps: int
    particles: int
    status: str
    error: NotRequired[str]
    metrics: dict[str, Any]
    cost: dict[str, Any]
    diagnostics: dict[str, Any]


def encode(record: Record) -> bytes:
    """The record as one line of JSON. Raises ValueError, naming the image, if it is not what `Record` promises.

    Every number must be finite: JSON has no NaN, and a mean over rows must never meet one.
    """
    image_id = record.get("image_id")
    absent = Record.__required_keys__ - record.keys()
    if absent:
        raise ValueError(f"the record of {image_id} lacks {', '.join(sorted(absent))}")
    if record["status"] not in STATUSES or ("error" in record) != (record["status"] != "ok"):
        raise ValueError(f"the record of {image_id} must be ok, or failed or skipped with an error")
    try:
        return (json.dumps(record, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"the record of {image_id} cannot be kept as JSON: {error}") from error


def load(path: str | Path, parse: Callable[[bytes], Any] = json.loads) -> Record | None:
    """The record at `path`, or None if none is there or it is not complete. Raises UserError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            record = parse(file.read())
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check results_dir") from error
    complete = isinstance(record, dict) and record.get("status") in STATUSES
    return cast(Record, record) if complete else None


def status_of(path: str | Path) -> str | None:
    """`ok`, `failed`, `skipped`, or None where no complete record is.

    A resumed run asks this of all that is finished, and parsing is most of it: hence orjson, which is quick, but rounds
    numbers past 64 bits and refuses some text that JSON can hold.
    """
    record = load(path, orjson.loads) or load(path)
    return None if record is None else record["status"]

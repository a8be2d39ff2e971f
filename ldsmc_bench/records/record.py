"""A record: the row of one draw of an image, and the JSON text that it is kept as."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import orjson

from ldsmc_bench.errors import UserError
from ldsmc_bench.text import printable

STATUSES = ("ok", "failed", "skipped")
GLANCE = ("run_id", "image_id", "draw", "draws", "status", "code", "truth", "truth_file")


@dataclass(frozen=True)
class RunLabels:
    """The labels of a run; `variant` names a set of arguments, which are in the run's identity themselves."""

    method: str
    task: str
    dataset: str
    steps: int
    particles: int
    seed: int
    variant: str = "default"


LABELS = tuple(field.name for field in fields(RunLabels))


class Record(TypedDict):
    """The row of one draw of an image. `status` is `ok`, `failed`, or `skipped` where the method cannot do the task at
    all; `error` says why, and is absent when it is `ok`.

    `code` is the code that computed it (`code_version`), `truth` the digest of the 8-bit true image (`truth_digest`),
    and `truth_file` the state of the file that it was read from, where there is one (`Dataset.state`).
    """

    run_id: str
    image_id: str
    draw: NotRequired[int]  # 0 where it is absent
    draws: NotRequired[int]  # that the row is of, in a world that keeps all draws of a problem together
    method: str
    task: str
    dataset: str
    variant: NotRequired[str]
    seed: int
    steps: int
    particles: int
    status: str
    error: NotRequired[str]
    code: NotRequired[Mapping[str, Any]]
    truth: NotRequired[str]
    truth_file: NotRequired[str]
    metrics: dict[str, Any]
    cost: dict[str, Any]
    diagnostics: dict[str, Any]


def encode(record: Record) -> bytes:
    """The record as one line of JSON. Raises ValueError, naming the image, if it is not what `Record` promises, or has
    a number that is not finite."""
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


def load(path: str | Path) -> Record | None:
    """The record at `path`, its text printable; None if it is absent or incomplete. Raises UserError if it cannot be
    read."""
    record = _parsed(path, json.loads) or {}
    printed = {key: printable(value) if isinstance(value, str) else value for key, value in record.items()}
    return cast(Record, printed) or None


def _parsed(path: str | Path, parse: Callable[[bytes], Any]) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            record = parse(file.read())
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check results_dir") from error
    if not isinstance(record, dict) or record.get("status") not in STATUSES:
        return None
    sections = (record.get(part, {}) for part in ("metrics", "cost", "diagnostics"))
    return record if all(isinstance(section, dict) for section in sections) else None


def glance(path: str | Path) -> dict[str, Any]:
    """The fields of a record that a resumed run asks for, each or None; empty where no complete record is."""
    # Parsing is most of the time that finding 100,000 finished images takes; but orjson refuses some text.
    record: Any = _parsed(path, orjson.loads) or load(path)
    return {name: record.get(name) for name in GLANCE} if record else {}


def status_of(path: str | Path) -> str | None:
    """`ok`, `failed`, `skipped`, or None where no complete record is."""
    return glance(path).get("status")


def is_done(found: Mapping[str, Any], draws: int) -> bool:
    """True for a glance at a success; a row that is of several draws has to be of as many as are asked for."""
    return found.get("status") == "ok" and (found["draws"] or draws) >= draws

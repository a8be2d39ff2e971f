"""The view of a run: all its records in one Parquet file, `runs/.view/<run_id>.parquet`, made anew when they changed.

A million small files take minutes to read, a thousand Parquet files seconds. The records stay the truth: the view may
be removed at any time, and one that is stale or damaged counts for nothing. It is fresh while the folder of the records
is the one that it was made from, with the same change time: a record appears, changes and goes by a rename or a link,
which the folder's change time tells, and no program can set that time back. A folder that changed in the very instant
before it was read could change again within one tick of the clock: such a reading is used, but not kept.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ldsmc_bench.records.publish import temporary_name
from ldsmc_bench.records.record import STATUSES, Record
from ldsmc_bench.records.store import Store, read

FORMAT = 1  # raise it when the columns change: older views are then made anew
KEY = b"ldsmc_bench"
TICK, COARSE_TICK = 100_000_000, 2_000_000_000  # ns, of file systems that keep fractions of a second, and of others


@dataclass(frozen=True)
class Tally:
    """How many images of a run are `ok`, `failed` and `skipped`, and the first reason for skipping, if any."""

    ok: int
    failed: int
    skipped: int
    reason: str | None

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.skipped


def tally(store: Store) -> Tally:
    """The counts of a run, from the view's footer where it is fresh, else from the records. Raises UserError if they
    cannot be read."""
    metadata = _fresh(store)
    return Tally(**(_told(_refreshed(store).schema.metadata) if metadata is None else metadata)["tally"])


def rows(store: Store, columns: Sequence[str] | None = None) -> pa.Table:
    """The records of a run, sorted by image id: `image_id status error`, and as float64, null where a row lacks it,
    `metrics.<name>`, `cost.<name>`, `diagnostics.<name>` (its mean over the steps) and the list `steps.<name>`.

    With `columns`, these only, where the run has them. Raises UserError if the records cannot be read.
    """
    table = _read(store, columns) if _fresh(store) is not None else None
    if table is None:
        table = _refreshed(store)
        table = table.select([name for name in table.column_names if columns is None or name in columns])
    return table


def refresh(store: Store) -> None:
    """Bring the view up to date, if it can be kept."""
    if _fresh(store) is None:
        _refreshed(store)


def _path(store: Store) -> Path:
    return store.root.parent / ".view" / f"{store.run_id}.parquet"


def _fresh(store: Store) -> dict[str, Any] | None:
    """What the view's footer tells, or None where the view is absent, stale or damaged."""
    try:
        told = _told(pq.read_metadata(_path(store)).metadata)
        return told if told["format"] == FORMAT and told["folder"] == _folder(store)[0] else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _told(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    return json.loads(metadata[KEY])


def _folder(store: Store) -> tuple[list[int], int]:
    """What names this state of the folder of records, and its change time in ns."""
    state = os.stat(store.root / "records")
    return [state.st_ino, state.st_ctime_ns], state.st_ctime_ns


def _read(store: Store, columns: Sequence[str] | None) -> pa.Table | None:
    try:
        with pq.ParquetFile(_path(store), page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            return file.read([name for name in names if columns is None or name in columns])
    except (OSError, pa.ArrowException):
        return None


def _refreshed(store: Store) -> pa.Table:
    """The view as the records make it, kept where that is possible and would be trusted."""
    temporary = temporary_name(_path(store))
    try:
        temporary.parent.mkdir(exist_ok=True)
        temporary.touch(exist_ok=False)
        folder, changed = _folder(store)
        # By the file system's own clock, which need not be this machine's.
        settled = os.stat(temporary).st_mtime_ns - changed > (TICK if changed % 1_000_000_000 else COARSE_TICK)
    except OSError:  # a folder of somebody else's
        return _table(read(store), [])
    try:
        table = _table(read(store), folder)
        if settled:
            # No waiting for the disk: what a crash leaves damaged, the checksums tell.
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
            os.replace(temporary, _path(store))
    except OSError:  # a full disk
        return _table(read(store), [])
    finally:
        temporary.unlink(missing_ok=True)
    return table


def _table(records: Sequence[Record], folder: list[int]) -> pa.Table:
    count = Counter(record["status"] for record in records)
    reason = next((record.get("error") for record in records if record["status"] == "skipped"), None)
    told = {
        "format": FORMAT,
        "folder": folder,
        "tally": {**{status: count[status] for status in STATUSES}, "reason": reason},
    }
    columns: dict[str, Any] = {
        "image_id": pa.array([record["image_id"] for record in records], pa.string()),
        "status": pa.array([record["status"] for record in records], pa.string()),
        "error": pa.array([record.get("error") for record in records], pa.string()),
    }
    for part in ("metrics", "cost"):
        for name, values in _columns(records, part):
            columns[f"{part}.{name}"] = pa.array([_number(value) for value in values], pa.float64())
    for name, values in _columns(records, "diagnostics"):
        steps = [_numbers(value) for value in values]
        columns[f"diagnostics.{name}"] = pa.array([sum(s) / len(s) if s else None for s in steps], pa.float64())
        columns[f"steps.{name}"] = pa.array(steps, pa.list_(pa.float64()))
    return pa.table(columns).replace_schema_metadata({KEY: json.dumps(told).encode()})


def _columns(records: Sequence[Record], part: str) -> Iterator[tuple[str, list[Any]]]:
    """Name by name in the order of first appearance: the values of all records, None where one lacks it."""
    sections: list[dict[str, Any]] = [record.get(part) or {} for record in records]  # type: ignore[misc]
    for name in dict.fromkeys(name for section in sections for name in section):
        yield name, [section.get(name) for section in sections]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _numbers(value: Any) -> list[float] | None:
    """The values of the steps; a diagnostic may be a single number too. None for what is no number."""
    values = value if isinstance(value, list) else [value]
    return [float(v) for v in values] if values and all(isinstance(v, int | float) for v in values) else None

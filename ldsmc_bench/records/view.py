"""The view of a run: its records in a Parquet file a draw, `runs/.view/<run_id>.parquet`, rebuilt when they change.

A million small files take minutes to read, a thousand Parquet files seconds. The view may be removed at any time, and
one that is stale or damaged counts for nothing. It is fresh while the folder of the records is the one that it was made
from, with the same change time, which no program can set back. A folder that changed in the very instant before it was
read could change again within one tick of the clock: such a reading is used, but not kept.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ldsmc_bench.files import temporary_name
from ldsmc_bench.records.store import Store, read, strays

FORMAT = 4  # raise it when the columns change, so that older views are rebuilt
KEY = b"ldsmc_bench"
TICK, COARSE_TICK = 100_000_000, 2_000_000_000  # ns, of file systems that keep fractions of a second, and of others
OF_DRAWS = "of_draws"  # a column for `tally` alone: how many draws a record is of, where worlds keep all together
NUMBERS = {
    OF_DRAWS: pa.int64(),
    "metrics": pa.float64(),
    "cost": pa.float64(),
    "diagnostics": pa.float64(),
    "steps": pa.list_(pa.float64()),
}


@dataclass(frozen=True)
class Tally:
    """The numbers of images that are `ok`, `failed` and `skipped`, and the first reason for skipping, if any."""

    ok: int
    failed: int
    skipped: int
    reason: str | None

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.skipped


def tally(store: Store, draws: int = 1) -> Tally:
    """The counts of a draw of a run, without successes that are of fewer than so many `draws`, where a record is of
    several. Raises UserError if the records cannot be read."""
    table = rows(store, ["status", "error", OF_DRAWS])
    # Not by an expression: it leaves threads behind, and a process forked after that hangs.
    enough = pc.greater_equal(pc.fill_null(table[OF_DRAWS], draws), draws)
    table = table.filter(pc.or_(enough, pc.not_equal(table["status"], "ok")))
    count = {one["values"]: one["counts"] for one in table["status"].value_counts().to_pylist()}
    reason = None
    if "skipped" in count:
        reason = table["error"][table["status"].index("skipped").as_py()].as_py()
    return Tally(count.get("ok", 0), count.get("failed", 0), count.get("skipped", 0), reason)


def rows(store: Store, columns: Sequence[str] | None = None) -> pa.Table:
    """The records of a draw of a run, sorted by image id: `image_id status error truth`, and as float64, null where a
    row lacks it, `metrics.<name>`, `cost.<name>`, `diagnostics.<name>` (its mean over the steps) and the list
    `steps.<name>`.

    With `columns`, these only, where the run has them. The view is brought up to date, if it can be kept. Raises
    UserError if the records cannot be read.
    """
    try:
        with open(_path(store), "rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as file:
            if file.metadata.metadata[KEY] == _state(store)[0]:
                return file.read(_among(columns, file.schema_arrow.names))
    except (OSError, pa.ArrowException, KeyError, TypeError):
        pass  # absent or damaged
    table = _made(store)
    return table.select(_among(columns, table.column_names))


def _path(store: Store) -> Path:
    number = f".{store.draw}" if store.draw else ""
    return store.root.parent / ".view" / f"{store.run_id}{number}.parquet"


def _among(columns: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    return [name for name in names if (name != OF_DRAWS if columns is None else name in columns)]


def _state(store: Store) -> tuple[bytes, int]:
    """The state that a fresh view has noted, and the change time of the records' folder in ns."""
    folder = os.stat(store.folder / "records")
    return f"{FORMAT} {folder.st_ino} {folder.st_ctime_ns}".encode(), folder.st_ctime_ns


def _made(store: Store) -> pa.Table:
    """The view as the records make it, kept where that is possible and would be trusted."""
    temporary, table = temporary_name(_path(store)), None
    try:
        temporary.parent.mkdir(exist_ok=True)
        temporary.touch(exist_ok=False)
        state, changed = _state(store)
        # By the file system's own clock, which need not be this machine's.
        settled = os.stat(temporary).st_mtime_ns - changed > (TICK if changed % 1_000_000_000 else COARSE_TICK)
        records = read(store)
        table = _table(records).replace_schema_metadata({KEY: state})
        if settled and not strays(store, records):  # so that the warning of strays comes each time
            # No fsync: checksums reveal a file that a crash damaged.
            with open(temporary, "wb") as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            os.replace(temporary, _path(store))
    except OSError:
        pass  # a folder of somebody else's, or a full disk
    finally:
        with suppress(OSError):
            temporary.unlink()
    return _table(read(store)) if table is None else table


def _table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    flat = [_row(record) for record in records]
    names = dict.fromkeys(["image_id", "status", "error", OF_DRAWS, *(name for row in flat for name in row), "truth"])
    types = {name: NUMBERS.get(name.split(".")[0], pa.string()) for name in names}
    return pa.table({name: pa.array([row.get(name) for row in flat], kind) for name, kind in types.items()})


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: record.get(name) for name in ("image_id", "status", "error")}
    row[OF_DRAWS] = record.get("draws")
    for part in ("metrics", "cost"):
        for name, value in record.get(part, {}).items():
            row[f"{part}.{name}"] = float(value) if isinstance(value, int | float) else None
    for name, value in record.get("diagnostics", {}).items():
        steps = value if isinstance(value, list) else [value]  # a diagnostic may be a single number too
        numbers = [float(one) for one in steps if isinstance(one, int | float)]
        whole = bool(steps) and len(numbers) == len(steps)
        row[f"steps.{name}"] = numbers if whole else None
        row[f"diagnostics.{name}"] = sum(numbers) / len(numbers) if whole else None
    return row | {"truth": record.get("truth")}

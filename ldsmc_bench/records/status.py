"""How far each run is: what was asked for, against what the store holds.

How many images are wanted is not part of a run's identity (more of them fill in the same run), so it is kept beside the
records, in `requested.json`. That number only grows: a quick look at 10 images does not make a run of 1000 complete.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import publish, replace, writing
from ldsmc_bench.records.store import Store, outcomes, read, runs
from ldsmc_bench.records.view import tally


@dataclass(frozen=True)
class Request:
    """What a run was asked for, the first `ids` images of a data set of `dataset_size`, and which run it is.

    `variant` is a label: not part of the run's identity, which holds what the variant stands for.
    """

    ids: int
    dataset_size: int
    method: str
    task: str
    dataset: str
    particles: int
    steps: int
    seed: int
    variant: str = "default"


@dataclass(frozen=True)
class RunStatus:
    """One line of the status: images `done`, `missing` (asked for, not tried yet), `failed`, and `skipped` where the
    method cannot do the task."""

    run_id: str
    method: str
    task: str
    dataset: str
    particles: int
    steps: int
    seed: int
    done: int
    missing: int
    failed: int
    skipped: int
    complete: bool


def request(store: Store, wanted: Request) -> None:
    """Note what the run is asked to do, unless as much was asked before. Raises UserError if it cannot be written."""
    path = store.root / "requested.json"
    data = (json.dumps(asdict(wanted), indent=2) + "\n").encode()
    with writing(store.root):
        # Look again after each attempt: another process may have asked at the same time, for more or for less.
        while (standing := requested(store)) is None or standing.ids < wanted.ids:
            put = replace if path.exists() else publish
            put(path, data)


def requested(store: Store) -> Request | None:
    """What the run was asked to do, or None if nobody has said so yet."""
    try:
        values = json.loads((store.root / "requested.json").read_bytes())
        return Request(**{field.name: values[field.name] for field in fields(Request) if field.name in values})
    except (FileNotFoundError, ValueError, TypeError):
        return None
    except OSError as error:
        raise UserError(
            f"{store.root / 'requested.json'} cannot be read ({error.strerror}): check results_dir"
        ) from error


def asked(store: Store) -> Request | None:
    """As `requested`; for a run whose request was lost, what its records tell, but for how many images were wanted.
    None without either."""
    return requested(store) or _asked_by_records(store)


def statuses(results_dir: str | Path) -> list[RunStatus]:
    """The status of every run under a results folder, sorted by name. Raises UserError if it cannot be read."""
    wanted = ((store, asked(store)) for store in runs(results_dir))
    return [_status(store, request) for store, request in wanted if request is not None]


def table(rows: Sequence[RunStatus], beside: Mapping[str, Sequence[str]] | None = None) -> str:
    """The rows for a terminal: one line a run, numbers to the right, and a line of totals.

    `beside` are further columns of text, one entry a row.
    """
    names = [field.name for field in fields(RunStatus) if field.name != "complete"]
    columns = {name: [str(getattr(row, name)) for row in rows] for name in names} | dict(beside or {})
    names, cells = list(columns), [list(columns), *map(list, zip(*columns.values(), strict=True))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    left = {"run_id", "method", "task", "dataset", *(beside or ())}
    lines = [
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        )
        for line in cells
    ]
    return "\n".join([*(line.rstrip() for line in lines), "", _totals(rows)])


def _asked_by_records(store: Store) -> Request | None:
    first = next(iter(read(store, list(outcomes(store))[:1])), None)
    if first is None:
        return None
    names = (first["method"], first["task"], first["dataset"], first["particles"], first["steps"], first["seed"])
    return Request(0, 0, *names)


def _status(store: Store, wanted: Request) -> RunStatus:
    count = tally(store)
    return RunStatus(
        run_id=store.run_id,
        method=wanted.method,
        task=wanted.task,
        dataset=wanted.dataset,
        particles=wanted.particles,
        steps=wanted.steps,
        seed=wanted.seed,
        done=count.ok,
        missing=max(0, wanted.ids - count.total),
        failed=count.failed,
        skipped=count.skipped,
        complete=0 < wanted.ids <= count.ok + count.skipped and not count.failed,
    )


def _totals(rows: Sequence[RunStatus]) -> str:
    words = ("done", "missing", "failed", "skipped")
    counts = ", ".join(f"{sum(getattr(row, word) for row in rows)} {word}" for word in words)
    complete = sum(row.complete for row in rows)
    runs_word = "run" if len(rows) == 1 else "runs"
    return f"{len(rows)} {runs_word}, {complete} complete: {counts}"

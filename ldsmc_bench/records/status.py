"""The progress of each run: draws asked for against records in the store.

The numbers of images and of their draws are not part of a run's identity (more fill in the same run): they are kept in
`requested.json`. They only grow, a quick look at 10 images does not make a run of 1000 complete; but that of images
shrinks where the data set does.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_type_hints

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import publish, replace, writing
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.store import Store, draw_stores, outcomes, read, read_summary, runs
from ldsmc_bench.records.view import Tally, tally
from ldsmc_bench.text import printable, text_table

FIRST = 16  # ids that a request names


@dataclass(frozen=True)
class Request:
    """A request for draws, each of so many first `images` of a data set, never of more than the one before, and the
    labels of the run that has to make them."""

    images: tuple[int, ...]
    labels: RunLabels
    first: tuple[str, ...] = ()  # ids, for sheets and panels that show the same images of all runs
    split: str | None = None  # the part of the data set, which its digest tells apart but does not name
    each: int = 1  # draws that a record is of, where a world keeps all of an image together

    @property
    def draws(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class RunStatus:
    """One line of the status: draws of images `done`, `missing` (asked for, not tried yet), `failed`, and `skipped`
    where the method cannot do the task."""

    run_id: str
    labels: RunLabels
    done: int
    missing: int
    failed: int
    skipped: int
    complete: bool
    draws: int = 1  # asked for of an image
    images: int | None = None  # of so many draws, where others were asked for with fewer

    def row(self) -> dict[str, Any]:
        """The line as flat values by name."""
        flat = {"run_id": self.run_id, **asdict(self.labels), **asdict(self)}
        return {key: value for key, value in flat.items() if key != "labels"}


def request(store: Store, wanted: Request, there: int = sys.maxsize) -> None:
    """Note what the run is asked to do, unless as much was asked before and its data set still has so many images
    (`there`). Raises UserError if it cannot be written."""
    path = store.root / "requested.json"
    with writing(store.root):
        while True:  # look again after each attempt: another process may have asked at the same time, for more or less
            standing = requested(store)
            before = standing.images if standing else ()
            asked = tuple(min(max(pair), there) for pair in zip_longest(before, wanted.images, fillvalue=0))
            each = max(wanted.each, standing.each if standing else 1)
            if standing and (before, standing.each) == (asked, each):
                return
            note = {"images": asked, **asdict(wanted.labels), "first": wanted.first, "split": wanted.split}
            note |= {"each": each} if each > 1 else {}
            (replace if path.exists() else publish)(path, (json.dumps(note) + "\n").encode())


def requested(store: Store) -> Request | None:
    """The latest request of a run; None before the first."""
    path = store.root / "requested.json"
    try:
        return request_of(json.loads(path.read_bytes()))
    except (FileNotFoundError, LookupError, ValueError, TypeError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check results_dir") from error


def asked(store: Store) -> Request | None:
    """As `requested`; where the request was lost, with the labels of the records and no images. None without either."""
    if noted := requested(store):
        return noted
    try:
        return request_of({"images": [0], **read(store, list(outcomes(store))[:1])[0]})
    except (LookupError, ValueError, TypeError):
        return None


def request_of(values: Mapping[str, Any]) -> Request:
    """A request from JSON. Raises LookupError, ValueError or TypeError for any other content."""
    labels: dict[str, Any] = {
        name: printable(values[name]) if kind is str else int(values[name])  # a name may be read as a number
        for name, kind in get_type_hints(RunLabels).items()
        if name in values
    }
    images, *later = map(int, values["images"])  # every request is for draw 0
    first, split = tuple(map(printable, values.get("first", ()))), values.get("split")
    each = int(values.get("each", 1))
    return Request((images, *later), RunLabels(**labels), first, split and printable(split), each)


def complete(wanted: Request, counts: Sequence[Tally]) -> bool:
    """True if every draw asked for is done, or skipped because the method cannot do the task, by the counts of a run's
    draws. A failed one leaves a run incomplete: the same command tries it again."""
    return wanted.images[0] > 0 and missing(wanted, counts) == 0 and not any(count.failed for count in counts)


def missing(wanted: Request, counts: Sequence[Tally]) -> int:
    """The number of draws asked for that have no record. More records than asked for, of pictures that left their
    folder, make up for no other draw's."""
    there = [count.total for count in counts]
    return sum(max(0, asked - (there[i] if i < len(there) else 0)) for i, asked in enumerate(wanted.images))


def concluded(store: Store) -> dict[str, Any] | None:
    """The summary of a run, if it counts every draw that was asked for, failed ones too; None before."""
    summary, wanted = read_summary(store), requested(store)
    if summary is None or wanted is None:
        return summary
    images = sum(summary.get(key, 0) for key in ("n", "n_failed", "n_skipped"))
    draws, each = summary.get("draws", 1), summary.get("each", 1)
    return summary if images >= wanted.images[0] and draws >= wanted.draws and each >= wanted.each else None


def statuses(results_dir: str | Path) -> list[RunStatus]:
    """The status of every run under a results folder, sorted by name. Raises UserError if it cannot be read."""
    found = []
    for store in runs(results_dir):
        if wanted := asked(store):
            counts = [tally(one, wanted.each) for one in draw_stores(store)]
            ok, failed, skipped = (sum(getattr(one, name) for one in counts) for name in ("ok", "failed", "skipped"))
            left, whole = missing(wanted, counts), complete(wanted, counts)
            most = wanted.images[-1] if wanted.images[-1] < wanted.images[0] else None
            one = RunStatus(store.run_id, wanted.labels, ok, left, failed, skipped, whole, wanted.draws, most)
            found.append(one)
    return found


def table(rows: Sequence[RunStatus], beside: Mapping[str, Sequence[str]]) -> str:
    """The rows for a terminal, one line a run, with further columns of text `beside`, and a line of totals."""
    flat = [row.row() for row in rows]
    usual = {name for name, one in {"draws": 1, "variant": "default"}.items() if all(row[name] == one for row in flat)}
    names = [name for name in flat[0] if name not in {"complete", "images", *usual}]
    columns: dict[str, Sequence[str]] = {name: [str(line[name]) for line in flat] for name in names}
    if "draws" in columns:
        columns["draws"] = [f"{row.draws} ({row.images} images)" if row.images else f"{row.draws}" for row in rows]
    columns |= beside
    words = ("done", "missing", "failed", "skipped")
    counts = ", ".join(f"{sum(line[word] for line in flat)} {word}" for word in words)
    number = f"{len(rows)} run{'s' * (len(rows) != 1)}, {sum(row.complete for row in rows)} complete"
    left = {"run_id", "method", "task", "dataset", "variant", *beside}
    return f"{text_table(columns, left=left)}\n\n{number}: {counts}"

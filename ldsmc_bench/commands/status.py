"""`python -m ldsmc_bench status`: how many images of each run are done, missing, failed and skipped, and why.

`left` is the time of the missing images at the last hour's pace; where nobody worked on them, one after the other. On a
cluster: SLURM's state of the jobs that a run's missing images wait for.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from ldsmc_bench.cli import NO_RUNS, Options, entry, has_no_runs
from ldsmc_bench.cluster.jobs import Progress, job_progress, progress_columns
from ldsmc_bench.records import view
from ldsmc_bench.records.status import RunStatus, statuses, table
from ldsmc_bench.records.store import Store, draw_stores
from ldsmc_bench.text import printable

SHOWN = 10  # jobs that have not begun


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status of every run; the exit code is 0, or 2 if the results folder cannot be read."""
    parser = Options("status", __doc__, results_dir=True)
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per run")
    options = parser.read(arguments)
    rows = [] if has_no_runs(options.results_dir) else statuses(options.results_dir)
    progress, waiting = job_progress(options.results_dir, rows)
    stores = [draw_stores(Store(Path(options.results_dir) / "runs" / row.run_id, row.run_id)) for row in rows]
    undone = [reasons(draws) if row.failed or row.skipped else {} for row, draws in zip(rows, stores, strict=True)]
    left = [seconds_left(*one) for one in zip(rows, progress, stores, strict=True)]
    if options.json:
        lines = zip(rows, progress, left, undone, strict=True)
        flat = [{**row.row(), **asdict(one), "seconds_left": s, "reasons": why} for row, one, s, why in lines]
        print(json.dumps(flat, indent=2))
        return 0
    times = {"left": ["" if seconds is None else duration(seconds) for seconds in left]}
    print(table(rows, progress_columns(progress) | (times if any(times["left"]) else {})) if rows else NO_RUNS)
    runs_of: dict[str, list[str]] = {}  # the runs of each reason, which begins with its method
    for row, why in zip(rows, undone, strict=True):
        for kind, count in why.items():
            text = most_frequent(count).removeprefix(f"{row.labels.method}: ")
            runs_of.setdefault(f"{kind} {text}", []).append(row.run_id)
    for text, (first, *others) in runs_of.items():
        print(printable(f"{first}{f' and {len(others)} more' * bool(others)}: {text}"))
    for job, state in waiting[:SHOWN]:
        print(f"job {job.job} has not begun ({state.lower()}): {' '.join(job.overrides)}")
    if len(waiting) > SHOWN:
        print(f"and {len(waiting) - SHOWN} more jobs have not begun")
    return 0


def reasons(draws: Iterable[Store]) -> dict[str, dict[str, int]]:
    """The numbers of these draws that failed or were skipped for each reason, the most frequent first, by status."""
    rows = [row for draw in draws for row in view.rows(draw, ["status", "error"]).to_pylist() if row["status"] != "ok"]
    found = {
        kind: Counter(str(row["error"]) for row in rows if row["status"] == kind) for kind in ("failed", "skipped")
    }
    return {kind: dict(count.most_common()) for kind, count in found.items() if count}


def most_frequent(count: dict[str, int]) -> str:
    """The most frequent reason, and how many others there are."""
    (reason, n), *others = count.items()
    more = f" ({n} of {sum(count.values())}, and {len(others)} other reason{'s' * (len(others) > 1)})" if others else ""
    return f"{reason}{more}"


def seconds_left(row: RunStatus, progress: Progress, draws: Sequence[Store]) -> float | None:
    """The time until the missing images of a run are done; None where none is missing or none was ever timed."""
    if not row.missing:
        return None
    if progress.images_per_hour:
        return 3600 * row.missing / progress.images_per_hour
    rows = [one for draw in draws for one in view.rows(draw, ["cost.seconds", view.OF_DRAWS]).to_pylist()]
    timed = [(one.get("cost.seconds"), one.get(view.OF_DRAWS) or 1) for one in rows]  # a record's seconds are a draw's
    known = [cost * each for cost, each in timed if cost is not None and math.isfinite(cost)]
    return row.missing * math.fsum(known) / len(known) if known else None


def duration(seconds: float) -> str:
    """`90 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

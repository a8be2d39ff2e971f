"""`python -m ldsmc_bench.status`: how many images of each run are done, missing, failed and skipped.

On a cluster: SLURM's state of the jobs that a run's missing images wait for, images an hour, and when it will end.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from ldsmc_bench.cli import NO_RUNS, Options, entry, has_no_runs
from ldsmc_bench.cluster.jobs import job_progress, progress_columns
from ldsmc_bench.records.status import statuses, table

SHOWN = 10  # jobs that have not begun


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status of every run; the exit code is 0, or 2 if the results folder cannot be read."""
    parser = Options("status", __doc__, results_dir=True)
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per run")
    options = parser.read(arguments)
    rows = [] if has_no_runs(options.results_dir) else statuses(options.results_dir)
    progress, waiting = job_progress(options.results_dir, rows)
    if options.json:
        print(json.dumps([{**row.row(), **asdict(one)} for row, one in zip(rows, progress, strict=True)], indent=2))
        return 0
    print(table(rows, progress_columns(progress)) if rows else NO_RUNS)
    for job, state in waiting[:SHOWN]:
        print(f"job {job.job} has not begun ({state.lower()}): {' '.join(job.overrides)}")
    if len(waiting) > SHOWN:
        print(f"and {len(waiting) - SHOWN} more jobs have not begun")
    return 0

"""`python -m ldsmc_bench.status`: how many images of each run are done, missing, failed and skipped.

On a cluster: SLURM's state of the jobs that a run's missing images wait for, images an hour, and when it will end.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from ldsmc_bench.cluster.follow import columns, follow
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.status import statuses, table

SHOWN = 10  # jobs that have not begun


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status of every run; the exit code is 0, or 2 if the results folder cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.status", description=__doc__)
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per run")
    options = parser.parse_args(arguments)
    try:
        rows = statuses(options.results_dir)
        progress, waiting = follow(options.results_dir, rows)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([{**asdict(row), **asdict(one)} for row, one in zip(rows, progress, strict=True)], indent=2))
        return 0
    print(table(rows, columns(progress)) if rows else f"no runs in {options.results_dir} yet")
    for job, state in waiting[:SHOWN]:
        print(f"job {job.job} has not begun ({state.lower()}): {' '.join(job.overrides)}")
    if len(waiting) > SHOWN:
        print(f"and {len(waiting) - SHOWN} more jobs have not begun")
    return 0


if __name__ == "__main__":
    sys.exit(main())

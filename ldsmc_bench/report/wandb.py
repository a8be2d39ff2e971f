"""Finished runs in Weights & Biases: `python -m ldsmc_bench.report.wandb [--mode online] RUN_ID...`.

A run goes there by itself while it is made. This command sends it again, from the store alone.
"""

import argparse
import sys
from collections.abc import Sequence

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.store import Store, runs
from ldsmc_bench.report.wandb_follow import follow, quiet
from ldsmc_bench.report.wandb_part import Part, complete


def main(arguments: Sequence[str] | None = None) -> int:
    """Send runs whether they were sent before or not; the exit code is 0, or 1 if one could not be sent."""
    parser = argparse.ArgumentParser(
        prog="python -m ldsmc_bench.report.wandb", description="Send finished runs to W&B, from the store."
    )
    parser.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="a finished run, a folder name under runs/")
    parser.add_argument("--mode", choices=("online", "offline"), default="offline", help="default: offline")
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    options = parser.parse_args(arguments)
    errors = 0
    with quiet():
        for run_id in options.run_ids:
            try:
                where = follow(Part(_finished(options.results_dir, run_id)), options.mode, lambda: True)
                print(f"{run_id}: {where}")
                continue
            except UserError as error:
                line = str(error)
            except Exception as error:  # W&B's own, of whatever kind
                line = f"{run_id}: {type(error).__name__}: {' '.join(str(error).split())}"
            errors += 1
            print(f"error: {line}", file=sys.stderr)
    return min(errors, 1)


def _finished(results_dir: str, run_id: str) -> Store:
    store = next((store for store in runs(results_dir) if store.run_id == run_id), None)
    if store is None:
        raise UserError(f"{run_id}: no such run in {results_dir}; python -m ldsmc_bench.status lists them")
    if not complete(store):
        raise UserError(f"{run_id}: not finished yet; give its command again to bring it to its end")
    return store


if __name__ == "__main__":
    sys.exit(main())

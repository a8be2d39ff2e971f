"""`python -m ldsmc_bench.status`: how many images of each run are done, missing, failed and skipped."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.status import statuses, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status of every run; the exit code is 0, or 2 if the results folder cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.status", description=__doc__)
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per run")
    options = parser.parse_args(arguments)
    try:
        rows = statuses(options.results_dir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    elif rows:
        print(table(rows))
    else:
        print(f"no runs in {options.results_dir} yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())

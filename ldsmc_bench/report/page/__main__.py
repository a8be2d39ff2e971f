"""`python -m ldsmc_bench.report.page`: all results as one static page, results/page/index.html."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.report.page.build import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the page and print its path; the exit code is 0, or 2 if results cannot be read or written."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.report.page", description=__doc__)
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    options = parser.parse_args(arguments)
    try:
        print(f"page: {build(Path(options.results_dir))}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

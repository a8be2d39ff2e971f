"""The same as `ldsmc-bench speed`."""

import sys

from ldsmc_bench.commands.speed import main

if __name__ == "__main__":
    sys.exit(main())

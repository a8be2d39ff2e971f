"""The same as `ldsmc-bench tune`."""

import sys

from ldsmc_bench.commands.tune import main

if __name__ == "__main__":
    sys.exit(main())

"""The same as `ldsmc-bench status`."""

import sys

from ldsmc_bench.commands.status import main

if __name__ == "__main__":
    sys.exit(main())

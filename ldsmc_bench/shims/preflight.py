"""The same as `ldsmc-bench preflight`."""

import sys

from ldsmc_bench.commands.preflight import main

if __name__ == "__main__":
    sys.exit(main())

"""The same as `ldsmc-bench verify`."""

import sys

from ldsmc_bench.replay.verify import main

if __name__ == "__main__":
    sys.exit(main())

"""The same as `ldsmc-bench rescore`."""

import sys

from ldsmc_bench.commands.rescore import main

if __name__ == "__main__":
    sys.exit(main())

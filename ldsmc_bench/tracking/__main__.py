"""Finished runs in Weights & Biases: `python -m ldsmc_bench wandb [mode=online] RUN_ID...`.

A run is sent while it is made. This command sends it again, from the store alone.
"""

import sys
from collections.abc import Sequence

from ldsmc_bench.cli import Options, entry, going_on
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.status import concluded
from ldsmc_bench.records.store import runs
from ldsmc_bench.tracking.follow import Upload, choose_mode, quiet


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Send runs, whether they were sent before or not; the exit code is 0, or 1 if one could not be sent."""
    parser = Options("wandb", "Send finished runs to W&B, from the store.", results_dir=True)
    parser.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="a finished run, a folder name under runs/")
    parser.add_argument("--mode", choices=("online", "offline"), help="default: WANDB_MODE, else offline")
    options = parser.read(arguments)
    mode = options.mode or choose_mode("auto")
    if mode == "disabled":
        raise UserError("WANDB_DISABLED or WANDB_MODE disables W&B; add mode=offline or mode=online to send anyway")
    failed: list[str] = []
    with quiet():
        for run_id in options.run_ids:
            with going_on(failed, run_id, Exception):  # W&B's own, of any kind
                stores = {store.run_id: store for store in runs(options.results_dir)}
                if run_id not in stores:
                    raise UserError(f"no such run in {options.results_dir}; python -m ldsmc_bench status lists them")
                if not concluded(stores[run_id]):
                    raise UserError("not finished yet; give its command again to complete it")
                from ldsmc_bench.tracking.send import send

                print(f"{run_id}: {send(Upload(stores[run_id], mode))}")
    return min(len(failed), 1)


if __name__ == "__main__":
    sys.exit(main())

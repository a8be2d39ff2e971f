"""`python -m ldsmc_bench replay TRACE checkpoint=FOLDER`: a recorded reference run through this project's sampler.

The samplers are those that users run, in `variant=released`; only their random numbers are replaced by the recorded
ones. Prints a JSON of the largest relative deviation of every recorded quantity and exits 1 past tolerance.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.replay import dps, latent, ldsmc
from ldsmc_bench.replay.compare import TOLERANCE
from ldsmc_bench.replay.recording import Recording, read

STEP_TOLERANCE = 1e-4  # of single steps from recorded inputs, which are named `step/...`
REPLAYS: dict[str, Callable[[Recording, dict[str, Any], Path], dict[str, float]]] = {
    "dps": dps.replay,
    "ldsmc": ldsmc.replay,
    "psld": latent.replay_psld,
    "resample": latent.replay_resample,
}


@entry
@torch.no_grad()
def main() -> int:
    parser = Options("replay", __doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = parser.read()
    recording, facts = read(options.trace)
    if facts["method"] not in REPLAYS:
        known = ", ".join(REPLAYS)
        raise UserError(f"{options.trace}: a run of {facts['method']}; what can be replayed is {known}")
    try:
        worst = REPLAYS[facts["method"]](recording, facts, options.checkpoint)
    except UserError as error:
        raise UserError(f"{options.trace}: {error}") from error
    except (IndexError, KeyError) as error:
        raise UserError(f"{options.trace}: holds other steps than its `trace` entry says ({error})") from error
    print(json.dumps(worst, indent=2))
    return int(any(not value <= tolerance(name) for name, value in worst.items()))


def tolerance(quantity: str) -> float:
    return STEP_TOLERANCE if quantity.startswith("step/") else TOLERANCE


if __name__ == "__main__":
    sys.exit(main())

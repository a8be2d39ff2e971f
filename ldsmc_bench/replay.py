"""`python -m ldsmc_bench.replay TRACE --checkpoint FOLDER`: a recorded reference run through this project's sampler.

The sampler is the one that users run, in `variant=released`; only its random numbers are replaced by the recorded ones.
Prints a JSON of the largest relative deviation of every recorded quantity and exits 1 past tolerance.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from safetensors import safe_open
from torch import Tensor

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior import compvis
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask, Operator
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.settings import checked

TOLERANCE = 1e-3  # of a whole run, relative to the largest value of a quantity
Recording = dict[str, Tensor]


class RecordedNoise(Noise):
    """Draws that were recorded, by name and in order, for one image."""

    def __init__(self, draws: dict[str, list[Tensor]]) -> None:
        super().__init__(0, ["recorded"], "recorded")
        self.draws = {name: iter(values) for name, values in draws.items()}

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        return next(self.draws[name]).reshape(1, *shape)

    def ancestors(self, weights: Tensor, scheme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return next(self.draws["ancestors"]).reshape(weights.shape)


def replay_ldsmc(recording: Recording, facts: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run LD-SMC on the recorded draws: the largest deviation of each quantity, relative to its largest value."""
    steps, particles = facts["schedule_steps"], facts["particles"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["variant=released", f"steps={steps}", f"particles={particles}"])
    chosen = checked(cfg).sample | {key: facts[key] for key in ("eta", "kappa1", "kappa2", "rho", "gibbs_iterations")}
    chosen |= {"s": facts["switch_step"] / steps, "latent_fit_iterations": 0}
    prior = replace(compvis.load(folder, ema=facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])

    def draws() -> RecordedNoise:
        names = {
            "init": "init_noise",
            "auxiliary": "auxiliary_noise",
            "proposal": "proposal_noise",
            "ancestors": "ancestors",
        }
        return RecordedNoise({name: of(recording, kept) for name, kept in names.items()})

    trace = Trace(keep=None)
    x_rec = ldsmc.sample(prior, measurement, draws(), trace, **chosen)
    worst: dict[str, float] = defaultdict(float, x_rec=deviation(x_rec, recording["x_rec"]))
    for k in range(steps):
        for name, recorded in (("z", "z"), ("mean", "pi_mean"), ("log_weights", "log_weights")):
            if f"weights/{k:03d}/{recorded}" in recording:
                reference = recording[f"weights/{k:03d}/{recorded}"]
                mine = trace.values[name][k].reshape(reference.shape)
                if name == "log_weights":  # known up to a constant
                    mine, reference = (values - values.mean() for values in (mine, reference))
                worst[name] = max(worst[name], deviation(mine, reference))
    return dict(worst)


def operator(recording: Recording) -> Operator:
    """The recorded operator: a mask, or a kernel with reflected borders."""
    return Mask(recording["mask"].float()) if "mask" in recording else Blur(recording["kernel"][None].float())


def of(recording: Recording, prefix: str) -> list[Tensor]:
    """All recorded tensors under a prefix, in order."""
    return [recording[key] for key in sorted(recording) if key.startswith(f"{prefix}/")]


def deviation(mine: Tensor, reference: Tensor) -> float:
    """Largest absolute difference, relative to the reference's largest value."""
    return float((mine.double() - reference.double()).abs().max() / reference.double().abs().max().clamp(min=1e-12))


def read(path: Path) -> tuple[Recording, dict[str, Any]]:
    """A recording's tensors and its method with hyper-parameters. Raises UserError for a file that is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["trace"])  # noqa: SIM118
    except Exception as error:
        raise UserError(
            f"{path}: not a recorded run ({error}); give a .safetensors file with a `trace` entry"
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.replay", description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = parser.parse_args()
    try:
        recording, facts = read(options.trace)
        if facts["method"] != "ldsmc":
            raise UserError(f"{options.trace}: a run of {facts['method']}; only ldsmc can be replayed so far")
        worst = replay_ldsmc(recording, facts, options.checkpoint)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(worst, indent=2))
    return int(max(worst.values()) > TOLERANCE)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())

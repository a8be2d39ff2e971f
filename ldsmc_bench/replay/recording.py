"""A recorded run: its tensors, its random numbers as named noise, and the distance of ours from its values."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from safetensors import safe_open
from torch import Tensor

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.operators import Mask, Operator
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.settings import checked

TOLERANCE = 1e-3  # of whole runs; past it, a quantity is asked whether rounding alone would have brought it there
NUDGE = 1e-7  # relative, about float32's rounding
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


def read(path: Path) -> tuple[Recording, dict[str, Any]]:
    """A recording's tensors and its method with hyper-parameters. Raises UserError for a file that is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["trace"])  # noqa: SIM118
    except Exception as error:
        raise UserError(
            f"{path}: not a recorded run ({error}); give a .safetensors file with a `trace` entry"
        ) from error


def released(*overrides: str) -> dict[str, Any]:
    """The sampler's arguments in `variant=released`, as the command line would compose them with these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", ["variant=released", *overrides])).sample


def operator(recording: Recording) -> Operator:
    """The recorded operator: a mask, or a kernel with reflected borders."""
    return Mask(recording["mask"].float()) if "mask" in recording else Blur(recording["kernel"][None].float())


def of(recording: Recording, prefix: str) -> list[Tensor]:
    """All recorded tensors under a prefix, in order."""
    return [recording[key] for key in sorted(recording) if key.startswith(f"{prefix}/")]


def deviation(mine: Tensor, reference: Tensor) -> float:
    """Largest absolute difference, relative to the reference's largest value."""
    return float((mine.double() - reference.double()).abs().max() / reference.double().abs().max().clamp(min=1e-12))


def tables(recording: Recording, rows: list[Row]) -> dict[str, float]:
    """How far the chain's table is from the recorded one; infinitely where it has another length."""
    ours = torch.tensor([[row.t, row.a, row.a_prev, row.sigma] for row in rows], dtype=torch.float64).unbind(1)
    names = ("timesteps", "ddim_alphas", "ddim_alphas_prev", "ddim_sigmas")
    return {
        f"step/{name}": deviation(values, recording[name]) if len(values) == len(recording[name]) else float("inf")
        for name, values in zip(names, ours, strict=True)
    }


def judged(apart: dict[str, float], chaos: dict[str, float]) -> dict[str, float]:
    """The deviations without those that are past the tolerance and that rounding explains; these are told."""
    explained = {name for name, value in apart.items() if value > TOLERANCE and chaos.get(name, 0.0) > value / 10}
    for name in sorted(explained):
        print(
            f"{name}: {apart[name]:.2g}, not judged: chaotic (a start moved by {NUDGE:g} ends {chaos[name]:.2g} away)",
            file=sys.stderr,
        )
    return {name: value for name, value in apart.items() if name not in explained}

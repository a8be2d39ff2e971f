"""A recorded run: its tensors, its random numbers as named noise, and the distance of ours from its values."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from safetensors import safe_open
from torch import Tensor

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.operators import Mask, Operator
from ldsmc_bench.settings import checked

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

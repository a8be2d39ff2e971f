"""A recorded run: its tensors, its random numbers as named noise, and the problem that it solved."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from torch import Tensor

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.config import compose, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask

V = TypeVar("V")


class Recorded(dict[str, V]):
    """The entries of a recording, by name; asking for one that is absent raises UserError."""

    def __missing__(self, name: str) -> V:
        raise UserError(f"{name}: the recording lacks it")


Recording = Recorded[Tensor]


class RecordedNoise(Noise):
    """Recorded draws of one image, by name and in order."""

    def __init__(self, draws: dict[str, list[Tensor]]) -> None:
        super().__init__(0, ["recorded"], "recorded")
        self.draws = {name: iter(values) for name, values in draws.items()}

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        return self._next(name, (1, *shape))

    def ancestors(self, weights: Tensor, scheme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._next("ancestors", tuple(weights.shape))

    def _next(self, name: str, shape: tuple[int, ...]) -> Tensor:
        draw = next(self.draws[name], None)
        if draw is None:
            raise UserError(f"{name}: the run draws more often than was recorded")
        if [side for side in draw.shape if side > 1] != [side for side in shape if side > 1]:  # singletons apart
            raise UserError(f"{name}: a draw of shape {tuple(draw.shape)} was recorded; the run draws {shape}")
        return draw.reshape(shape)


def read(path: Path) -> tuple[Recording, dict[str, Any]]:
    """A recording's tensors and its method with hyper-parameters. Raises UserError for another file."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return Recording(tensors), Recorded(json.loads(file.metadata()["trace"]))
    except Exception as error:
        raise UserError(
            f"{path}: not a recorded run ({error}); give a .safetensors file with a `trace` entry"
        ) from error


def released(*overrides: str) -> dict[str, Any]:
    """The sampler's arguments in `variant=released`, as the command line would compose them with these overrides."""
    return validate(compose("variant=released", *overrides)).sample


def latent_problem(recording: Recording, facts: dict[str, Any], folder: Path) -> tuple[LatentPrior, Measurement]:
    """The checkpoint in `folder` with the recorded schedule, and the recorded measurement."""
    prior = replace(compvis.load(folder, ema=facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    return prior, measurement_of(recording, facts, prior.image_size)


def measurement_of(recording: Recording, facts: dict[str, Any], side: int) -> Measurement:
    """The recorded measurement of one image: y of `side` pixels through a mask, or a kernel with reflected borders."""
    y, std = require_shape("y", recording["y"], (1, 3, side, side)), facts["measurement_noise_std"]
    if "mask" in recording:
        return Measurement(y, Mask(require_shape("mask", recording["mask"], (1, 1, side, side)).float()), std)
    return Measurement(y, Blur(recording["kernel"][None].float()), std)


def require_shape(name: str, recorded: Tensor, shape: Sequence[int]) -> Tensor:
    """The recorded value. Raises UserError for one of another shape."""
    if tuple(recorded.shape) != tuple(shape):
        raise UserError(f"{name}: was recorded of shape {tuple(recorded.shape)}; the replay has {tuple(shape)}")
    return recorded


def under(recording: Recording, prefix: str) -> Recording:
    """The tensors under a prefix in order, by the rest of their names."""
    start = f"{prefix}/"
    return Recording({key.removeprefix(start): recording[key] for key in sorted(recording) if key.startswith(start)})


def of(recording: Recording, prefix: str) -> list[Tensor]:
    """All recorded tensors under a prefix, in order."""
    return list(under(recording, prefix).values())

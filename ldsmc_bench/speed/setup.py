"""A point of a sweep, ready to be timed: a short chain, and the cost of one of 1000 steps that follows from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from statistics import fmean
from typing import Any

import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from torch import Tensor

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.config import PRECISIONS, Settings, compose, instantiate, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.compiled import networks_of, to_device_and_compile
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.problem import measure_batch
from ldsmc_bench.running.device import images_at_once
from ldsmc_bench.running.prediction_error import CalibratedPrior, calibration_due

STEPS = 1000
LEAST = 6  # steps of a short chain: two of each kind besides the first and the last
SHORT, LONGER = 10, {"resample": 30}  # measured steps; more for a method that fits only now and then
MADE_UP = ((0.01, 1.0), (0.99, 0.01))  # a calibration: its numbers do not change the work


@dataclass(frozen=True)
class Kinds:
    """The moves k = steps-1..0 of a chain: labels guide those below `switch`; of 1000, those below `long_switch`."""

    steps: int
    switch: int
    long_switch: int


@dataclass(frozen=True)
class Setup:
    """`sample` restores the images of `measurement` in a short chain; the prior is on its device. `order` is `ours`,
    `public`, or `published`: the public order on networks as published."""

    order: str
    settings: Settings
    sample: partial[Tensor]
    prior: Prior
    measurement: Measurement
    ids: list[str]
    kinds: Kinds

    def noise(self) -> Noise:
        """The same at every call, so that every pass does the same work."""
        return Noise(self.settings.seed, self.ids, "benchmark", device=self.settings.device)


def expand_sweep(arguments: Sequence[str]) -> list[list[str]]:
    """Overrides with comma lists as one list of overrides for each combination of their values."""
    overrides = OverridesParser.create().parse_overrides(list(arguments))
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(f"{override.input_line}: cannot be swept here; give a comma list")
    (points,) = BasicSweeper.split_arguments(overrides, None)
    return points


def add_defaults(overrides: Sequence[str]) -> list[str]:
    """Add the benchmark's own defaults to the overrides: the data set that goes with the prior (on a GPU FFHQ's, whose
    priors are full-size), random weights for published networks, and a chain of few steps."""
    given = {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in overrides)}
    added = []
    if "dataset" not in given:
        device = given.get("device", "auto")
        on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        of_prior = given.get("prior", "").rpartition("_")[2]  # priors are named after data sets
        usual = "ffhq" if "prior" not in given and on_gpu else "toyfaces"
        added.append(f"dataset={of_prior if (CONF / 'dataset' / f'{of_prior}.yaml').exists() else usual}")
    if "steps" not in given:
        added.append(f"steps={LONGER.get(given.get('method', ''), SHORT)}")
    prior = compose(*overrides, *added).prior
    chosen = {"prior.random_weights", "prior.path"} & given.keys()
    if isinstance(prior, DictConfig) and "random_weights" in prior and not chosen:
        added.append("prior.random_weights=true")
    return [*overrides, *added]


def prepare(overrides: Sequence[str], images: int | None = None, side: int | None = None) -> Setup:
    """Set up one point with `images` at once (default: the batch size), of another `side` than the prior's where its
    networks allow that. Raises UserError for the user's mistakes."""
    settings = validate(compose(*add_defaults(overrides)))
    load = json.dumps(settings.config["prior"]["load"], sort_keys=True)
    prior = _prior(load, settings.device, settings.precision, settings.compile)
    if not any(networks_of(prior)):
        raise UserError(f"dataset={settings.config['dataset']['name']}: its prior has no networks; choose another")
    prior = prior if side is None else resize_prior(prior, side)
    ids = [f"image-{i}" for i in range(images or images_at_once(settings, prior))]
    x = 2 * Noise(settings.seed, ids, "benchmark").uniform("images", (3, prior.image_size, prior.image_size)) - 1
    problem = problem_of(settings, Dataset("images", ids, torch.Tensor, ""))
    measurement = measure_batch(problem, x.float(), Noise(settings.seed, ids, "benchmark/measurement"))
    if calibration_due(settings, prior):
        prior = CalibratedPrior(prior, MADE_UP)
    kinds, changes = plan_chain(settings.sample, settings.sample["steps"])
    return Setup(
        order="ours",
        settings=settings,
        sample=partial(instantiate(settings.config["method"]["sample"]), **changes),
        prior=prior.conditioned([0] * len(ids)),
        measurement=measurement.to(settings.device, settings.dtype),
        ids=ids,
        kinds=kinds,
    )


def resize_prior(prior: Prior, side: int) -> Prior:
    """The same networks for images of another side. Raises UserError for a prior that is bound to its own."""
    if not isinstance(prior, LatentPrior):
        raise UserError(f"--growth: {type(prior).__name__} has one image size; leave it out")
    channels, latent, _ = prior.shape
    latent = latent * side // prior.image_size
    return replace(prior, shape=(channels, latent, latent), image_size=side)


@lru_cache(maxsize=1)  # one at a time on the device
def _prior(load: str, device: torch.device, precision: str, compile: bool) -> Prior:
    prior: Prior = instantiate(json.loads(load))
    return to_device_and_compile(prior, device, PRECISIONS[precision], compile)


def plan_chain(sample: Mapping[str, Any], steps: int) -> tuple[Kinds, dict[str, Any]]:
    """Changes to a sampler's arguments by which `steps` steps are of every kind that 1000 have. Raises UserError."""
    if steps < LEAST:
        raise UserError(f"steps={steps}: a chain is measured on at least {LEAST} steps, and extrapolated to {STEPS}")
    s, inclusive = sample.get("s"), int(sample.get("switch_inclusive", False))
    if s is None:
        return Kinds(steps, 0, 0), {}
    whole = round(s * STEPS) + inclusive
    if whole <= 1:
        return Kinds(steps, inclusive, whole), {"s": 0.0}
    if whole >= STEPS:
        return Kinds(steps, steps, STEPS), {"s": 1.0}
    half = steps // 2
    return Kinds(steps, half, whole), {"s": (half - inclusive) / steps}


def extrapolate(intervals: Sequence[float], kinds: Kinds) -> dict[str, float]:
    """The cost of a chain of 1000 steps, in the units of `intervals` (to the end of the short chain's first move, of
    each other move, and after the last): before its `start`, of a `step` without and a `labelled` one with guidance by
    labels, of its last step and all after it (`end`), and of the `whole`.

    A kind of steps counts with its mean, since steps differ by design, such as a fit now and then. Raises UserError
    where a chain with labels has more moves than steps: several sweeps.
    """
    moves = len(intervals) - 1
    if kinds.switch and moves != kinds.steps:
        raise UserError("method.sample: the benchmark follows one sweep: leave gibbs_iterations and islands at 1")
    by_kind: dict[bool, list[float]] = {False: [], True: []}
    for i, value in enumerate(intervals[1:-2], start=1):  # interval i is of the move k = moves - 1 - i
        by_kind[moves - 1 - i < kinds.switch].append(value)
    step, labelled = (fmean(values) if values else 0.0 for values in by_kind.values())
    start = max(0.0, intervals[0] - (labelled if moves - 1 < kinds.switch else step))
    end = intervals[-2] + intervals[-1]
    long_moves = round(STEPS * moves / kinds.steps)  # some chains have more moves than steps
    with_labels = max(0, min(kinds.long_switch, long_moves) - 1)
    whole = start + step * (long_moves - 1 - with_labels) + labelled * with_labels + end
    return {"start": start, "step": step, "labelled": labelled, "end": end, "whole": whole}

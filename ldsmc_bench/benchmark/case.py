"""What is measured: a point of a sweep as a sampler, a prior and measurements that are ready to go."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from torch import Tensor

from ldsmc_bench.batch_size import images_at_once
from ldsmc_bench.benchmark.course import LONGER, SHORT, Kinds, long_and_short
from ldsmc_bench.calibration import CalibratedPrior, calibration_due
from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.pose import measured
from ldsmc_bench.prior.compiled import ready
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.prior.latent import LatentPrior
from ldsmc_bench.prior.mixture import MixturePrior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.settings import PRECISIONS, Settings, checked, made

PICTURES = ("toyfaces", "ffhq", "imagenet")  # data sets that priors are named after
MADE_UP = ((0.01, 1.0), (0.99, 0.01))  # a calibration: its numbers do not change what is computed


@dataclass(frozen=True)
class Case:
    """`sample` restores the images of `measurement` in a chain of few steps, of the kinds that `short` and `long` say;
    the prior is on its device."""

    settings: Settings
    sample: Callable[..., Tensor]
    prior: Prior
    measurement: Measurement
    ids: list[str]
    short: Kinds
    long: Kinds

    def noise(self) -> Noise:
        """The same at every call, so that every pass does the same work."""
        return Noise(self.settings.seed, self.ids, "benchmark", device=self.settings.device)


def points(arguments: Sequence[str]) -> list[list[str]]:
    """Overrides with comma lists as one list of overrides for each combination of their values."""
    choices = []
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key, text = override.get_key_element(), override.input_line or ""
        if not override.is_sweep_override():
            choices.append([text])
        elif override.is_discrete_sweep():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise UserError(f"{text}: cannot be swept here; give a comma list")
    return [list(point) for point in itertools.product(*choices)]


def completed(overrides: Sequence[str]) -> list[str]:
    """With what the benchmark sets where the overrides do not: the data set that goes with the prior (on a GPU FFHQ's,
    whose priors are full-size), random weights for published networks, and a chain of few steps."""
    given = {key.lstrip("+"): value for key, _, value in (override.partition("=") for override in overrides)}
    added = []
    if "dataset" not in given:
        of_prior = given.get("prior", "").rpartition("_")[2]
        usual = "ffhq" if "prior" not in given and _on_gpu(given.get("device", "auto")) else "toyfaces"
        added.append(f"dataset={of_prior if of_prior in PICTURES else usual}")
    if "steps" not in given:
        added.append(f"steps={LONGER.get(given.get('method', ''), SHORT)}")
    prior = composed([*overrides, *added]).prior
    chosen = {"prior.random_weights", "prior.path"} & given.keys()
    if isinstance(prior, DictConfig) and "random_weights" in prior and not chosen:
        added.append("prior.random_weights=true")
    return [*overrides, *added]


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one point."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def case(overrides: Sequence[str], images: int | None = None, side: int | None = None) -> Case:
    """The case of one point: `images` at once (default: the batch size), of another `side` than the prior's where its
    networks allow that. Raises UserError for the user's mistakes."""
    settings = checked(composed(completed(overrides)))
    load = json.dumps(settings.config["prior"]["load"], sort_keys=True)
    prior = _prior(load, settings.device, settings.precision, settings.compile)
    prior = prior if side is None else resized(prior, side)
    if isinstance(prior, MixturePrior):
        raise UserError("dataset=mixture: its closed form says nothing of the speed of networks; choose another")
    ids = [f"image-{i}" for i in range(images or images_at_once(settings, prior))]
    x = 2 * Noise(settings.seed, ids, "benchmark").uniform("images", (3, prior.image_size, prior.image_size)) - 1
    measurement = measured(settings, x.float(), Noise(settings.seed, ids, "benchmark/measurement"))
    if calibration_due(settings, prior):
        prior = CalibratedPrior(prior, MADE_UP)
    long, short, changes = long_and_short(settings.sample, settings.sample["steps"])
    return Case(
        settings=settings,
        sample=partial(made(settings.config["method"]["sample"]), **changes),
        prior=prior.conditioned([0] * len(ids)),
        measurement=measurement.to(settings.device, settings.dtype),
        ids=ids,
        short=short,
        long=long,
    )


def resized(prior: Prior, side: int) -> Prior:
    """The same networks for images of another side. Raises UserError for a prior that is bound to its own."""
    if not isinstance(prior, LatentPrior):
        raise UserError(f"--growth: {type(prior).__name__} is of one image size alone; leave it out")
    channels, latent, _ = prior.shape
    latent = latent * side // prior.image_size
    return replace(prior, shape=(channels, latent, latent), image_size=side)


@lru_cache(maxsize=1)  # one at a time on the device
def _prior(load: str, device: torch.device, precision: str, compile: bool) -> Prior:
    prior: Prior = made(json.loads(load))
    return ready(prior, device, PRECISIONS[precision], compile)


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())

"""Noise levels and kind of prediction of a network, from the file of diffusers' scheduler beside it.

How a scheduler steps is not used. Keys that would mean other levels are read or refused; none is passed over.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from diffusers import schedulers
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from ldsmc_bench.checkpoints.config import MOST_LEVELS, ForeignConfig, shown, tables
from ldsmc_bench.checkpoints.diffusers_folder import BETAS, read_settings
from ldsmc_bench.errors import UserError, one_line

Prediction = Literal["epsilon", "v_prediction", "sample", "flow", "edm", "edm_v"]
LEAST = 2.0**-24  # alpha_bar in place of 0 at pure noise, as in diffusers' EulerDiscreteScheduler
_LEVELS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
_READ = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class Levels:
    """Noise levels of a training, `alpha_bar` (T,), float64, falling inside (0,1), and what the network predicts.

    `times`: the number that a flow network gets for the whole of noise. `sigma_data`: of EDM's scaling."""

    alpha_bar: Tensor
    prediction: Prediction = "epsilon"
    times: float = 1000.0
    sigma_data: float = 0.5
    learned_variance: bool = False

    def __post_init__(self) -> None:
        if self.prediction not in (known := get_args(Prediction)):
            raise UserError(f"Levels: prediction is {self.prediction}, but must be {' or '.join(known)}")


def read_levels(path: Path, tokens: int | None = None) -> Levels:
    """The levels that a scheduler_config.json describes. `tokens` is the length of an image as a sequence, on which the
    shift of a flow may depend. Raises UserError for a scheduler, a key or a value that is not known."""
    name = ForeignConfig(path).get("_class_name")
    try:
        flow = name == "FlowMatchEulerDiscreteScheduler"
        found = _flow(path, tokens) if flow else _edm(path) if name == "EDMEulerScheduler" else _betas(path)
    except UserError:
        raise
    except Exception as error:  # whatever a library raises for numbers that make no sense to it
        raise UserError(f"{path}: describes no noise levels ({one_line(error)[:200]}); fetch it anew") from error
    a = found.alpha_bar.clone()
    if len(a) > 1 and a[-1] <= 0:  # zero terminal signal-to-noise ratio
        a[-1] = torch.minimum(torch.tensor(LEAST, dtype=a.dtype), 0.9 * a[-2])
    if not (len(a) > 1 and a[-1] > 0 and a[0] < 1 and bool((a[1:] < a[:-1]).all())):
        raise UserError(f"{path}: its numbers make no schedule that falls between 1 and 0; fetch it anew")
    return Levels(a, found.prediction, found.times, found.sigma_data, found.learned_variance)


def _betas(path: Path) -> Levels:
    kind, settings = read_settings(path, [*BETAS, schedulers.EDMEulerScheduler], tables()["levels of betas"])
    own = inspect.signature(kind).parameters
    chosen: dict[str, Any] = {key: settings.get(key, own[key].default if key in own else None) for key in _LEVELS}
    chosen["rescale_betas_zero_snr"] = bool(chosen["rescale_betas_zero_snr"])
    for key in ("trained_betas", "rescale_betas_zero_snr"):
        if chosen[key] and key not in own:
            raise UserError(
                f"{path}: {key} is {shown(chosen[key])}, but {kind.__name__} does not take it; leave it out"
            )
    _require_levels(path, chosen["num_train_timesteps"])
    if (betas := chosen["trained_betas"]) is not None and len(betas) != chosen["num_train_timesteps"]:
        raise UserError(f"{path}: trained_betas are {len(betas)}, but num_train_timesteps is not; fetch it anew")
    prediction = settings.get("prediction_type", own["prediction_type"].default)
    if prediction not in _READ:
        raise UserError(f"{path}: prediction_type is {shown(prediction)}, but must be {' or '.join(_READ)}")
    try:
        scheduler: Any = schedulers.DDPMScheduler(**chosen)
    except Exception as error:  # whatever a library raises for a schedule that it does not have
        raise UserError(f"{path}: beta_schedule is {shown(chosen['beta_schedule'])}, which cannot be read") from error
    learned = settings.get("variance_type") == "learned_range"
    return Levels(torch.cumprod(1 - scheduler.betas.double(), dim=0), prediction, learned_variance=learned)


def _flow(path: Path, tokens: int | None) -> Levels:
    """The levels between t = 1/T and 1 of x = (1 - t) x_0 + t n, shifted as the scheduler shifts them."""
    _, settings = read_settings(path, [schedulers.FlowMatchEulerDiscreteScheduler], tables()["levels of a flow"])
    scheduler: Any = schedulers.FlowMatchEulerDiscreteScheduler(**settings)
    config, mu = scheduler.config, None
    ForeignConfig(path).expect(config.shift > 0, "shift", "but must be above 0")
    _require_levels(path, steps := config.num_train_timesteps)
    if config.use_dynamic_shifting:
        if tokens is None:
            raise UserError(f"{path}: use_dynamic_shifting is true, which this network has no length of sequences for")
        lengths = config.base_image_seq_len, config.max_image_seq_len
        mu = calculate_shift(tokens, *lengths, config.base_shift, config.max_shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=mu)
    return Levels(of_flow(scheduler.sigmas[:-1].double().flip(0)), "flow", float(steps))


def _edm(path: Path) -> Levels:
    _, settings = read_settings(path, [schedulers.EDMEulerScheduler], {})
    scheduler: Any = schedulers.EDMEulerScheduler(**settings)
    _require_levels(path, scheduler.config.num_train_timesteps)
    ForeignConfig(path).expect(scheduler.config.sigma_data > 0, "sigma_data", "but must be above 0")
    sigma = scheduler.sigmas[:-1].double().flip(0)
    prediction: Prediction = "edm" if scheduler.config.prediction_type == "epsilon" else "edm_v"
    return Levels(1 / (1 + sigma**2), prediction, sigma_data=float(scheduler.config.sigma_data))


def _require_levels(path: Path, steps: int) -> None:
    if not 1 < steps <= MOST_LEVELS:
        raise UserError(f"{path}: num_train_timesteps is {steps}, but must be from 2 to {MOST_LEVELS}")


def of_flow(t: Tensor) -> Tensor:
    """alpha_bar at which a variance-preserving latent has the signal-to-noise ratio of (1 - t) x_0 + t n."""
    return (1 - t) ** 2 / ((1 - t) ** 2 + t**2)

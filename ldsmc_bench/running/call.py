"""A call of a sampler: with a measurement of its own, in a process that it cannot change, and its answer checked."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldsmc_bench.config import Settings
from ldsmc_bench.errors import UserError
from ldsmc_bench.guard import unchanged
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.running.progress import Progress, Stop
from ldsmc_bench.sampling.trace import Trace


def call_sampler(
    sample: Callable[..., Any],
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    settings: Settings,
    shape: Sequence[int],
    progress: Progress,
) -> tuple[Tensor, dict[str, float]]:
    """Return what the sampler makes of `measurement`, `shape` (R,C,S,S) float32 on the CPU, and what a row costs.

    The sampler may write to all that it is given: `measurement`, by which it is judged, and the prior's schedule are
    copies. Its draws from global generators follow the seed and the images. Raises UserError for an answer of another
    kind or shape, and where the prior's networks are no longer what they were.
    """
    method = f"method.sample._target_={settings.targets[0]}"
    counted = CallCounter(prior, listener=progress.call(shape[0]))
    own = copy.deepcopy(measurement).to(settings.device, settings.dtype)
    before = _state(prior)
    with unchanged(noise.entropy("global")):
        started = time.perf_counter()
        try:
            x = sample(counted, own, noise, trace)
        except Stop:
            raise
        except SystemExit as error:  # or it would end a whole sweep, without a word
            raise UserError(f"{method}: called sys.exit({error.code}); let it raise") from error
        dense = isinstance(x, Tensor) and x.layout is torch.strided
        if not (dense and x.is_floating_point() and x.shape == torch.Size(shape)):
            raise UserError(
                f"{method}: must return a torch.Tensor of floating-point numbers of shape {tuple(shape)}, a row for "
                f"each of measurement.y; it returned {_described(x)}"
            )
        x = x.detach().to("cpu", torch.float32, copy=True)  # the sampler may write to its own later
        seconds = time.perf_counter() - started
    if _state(prior) != before:
        raise UserError(
            f"{method}: changed the prior's networks in place (weights, dtype or mode), with which other images are "
            "restored; let it work on a copy, as copy.deepcopy makes it"
        )
    progress.calls += counted.calls["denoiser_forward"]
    progress.called()
    return x, {"seconds": seconds / len(x), **counted.per_image(len(x))}


def _state(part: Any) -> list[object]:
    """A list that differs once a tensor (by its address and number of writes) or a network's mode was changed."""
    if isinstance(part, Tensor):
        return [part.data_ptr(), part.dtype, part._version]
    if isinstance(part, nn.Module):
        modes = [module.training for module in part.modules()]
        return [modes, *map(_state, part.parameters()), *map(_state, part.buffers())]
    if is_dataclass(part):
        return [_state(getattr(part, one.name)) for one in fields(part)]
    return []


def _described(x: object) -> str:
    name = f"{type(x).__module__}.{type(x).__qualname__}"
    if isinstance(x, Tensor):
        name = f"{'' if x.layout is torch.strided else 'sparse '}{x.dtype}"
    return "None" if x is None else f"{name} of shape {tuple(x.shape)}" if hasattr(x, "shape") else name

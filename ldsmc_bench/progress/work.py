"""The work of a sampler's call: calls of networks and what lies between them, step by step, and what each costs.

It is measured while the call runs, and sketched before the first: by the same call with trivial networks.
"""

import copy
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ldsmc_bench.config import Settings
from ldsmc_bench.guard import unchanged
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.interface import Calibrated, Prior, PriorWrapper
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.running import progress
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.trace import Trace

Call = tuple[str, int]  # as "decoder_backward", and its rows
TIMED = 3  # calls of a kind that are timed; the least counts, since the first ones also warm up
FEW = 3  # iterations of a fit, taken as typical
SECONDS = 10.0  # that a sketch may take, most of it for what is imported late, and besides for each step:
SECONDS_A_STEP = 0.01


@dataclass
class Part:
    """The work of one step, or what follows the last: calls of networks, and the seconds of everything else, or of all
    where it was measured."""

    calls: dict[Call, float] = field(default_factory=lambda: defaultdict(float))
    other: float = 0.0
    measured: float | None = None


class Meter:
    """Listens to a sampler's calls: to its prior (`begin`, `end`) and to its steps (`tick`); knows what parts cost.

    `parts` are the steps of the running call and, last, what has happened since. `timings` has the seconds of the first
    calls of each kind, for which a GPU is waited for.
    """

    def __init__(self, progressed: Callable[[], None] = lambda: None, device: torch.device | None = None) -> None:
        self.timings: dict[Call, list[float]] = {}
        self._progressed = progressed
        self._device = device
        self._begun: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Another call begins."""
        self.parts = [Part()]
        self._since = progress.clock()

    def begin(self, kind: str, rows: int) -> None:
        if len(self.timings.get((kind, rows), [])) < TIMED:
            self._begun[kind] = self._now()

    def end(self, kind: str, rows: int) -> None:
        if kind in self._begun:
            self.timings.setdefault((kind, rows), []).append(self._now() - self._begun.pop(kind))
        self.parts[-1].calls[kind, rows] += 1
        self._progressed()

    def tick(self) -> None:
        self.close()
        self.parts.append(Part())
        self._progressed()

    def close(self) -> None:
        """End the last part."""
        now = progress.clock()
        self.parts[-1].measured, self._since = now - self._since, now

    def cost(self, call: Call) -> float:
        """Seconds by rows from the same kind of call, else from the same network the other way round, else from any."""
        kind, rows = call
        for like in (kind, kind.split("_")[0], ""):
            if alike := [other for other in self.timings if other[0].startswith(like)]:
                nearest = min(alike, key=lambda other: abs(other[1] - rows))
                return min(self.timings[nearest]) * rows / nearest[1]
        return 0.0

    def cost_of_calls(self, part: Part) -> float:
        return sum(count * self.cost(call) for call, count in part.calls.items())

    def cost_of_other(self, part: Part) -> float:
        return part.other if part.measured is None else max(0.0, part.measured - self.cost_of_calls(part))

    def cost_of_part(self, part: Part) -> float:
        return part.other + self.cost_of_calls(part) if part.measured is None else part.measured

    def _now(self) -> float:
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return progress.clock()


class Enough(BaseException):
    """The sketch takes too long; no sampler is meant to catch this."""


@dataclass(frozen=True)
class Outline(PriorWrapper):
    """The shapes and the schedule of `prior`, without its networks: images are latents enlarged."""

    picture: Sequence[int]  # (C,S,S)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return 0.9 * z

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return self._resized(x, self.shape)

    def decode(self, z: Tensor) -> Tensor:
        return self._resized(z, self.picture)

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        return cast(Calibrated, self.prior).prediction_error_variance(operator, a)

    def _resized(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        if tuple(rows.shape[1:]) == tuple(shape):
            return rows if tuple(self.shape) == tuple(self.picture) else 1.0 * rows
        channels = torch.arange(shape[0], device=rows.device) % rows.shape[1]
        return F.interpolate(rows, size=list(shape[1:]))[:, channels]


class Sketch(Meter):
    """A meter of time outside the networks; a few iterations of a fit are extrapolated to all."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline
        self._entered = self._inside = 0.0
        self._weight = 1.0

    def begin(self, kind: str, rows: int) -> None:
        self._entered = progress.clock()
        if self._entered > self._deadline:
            raise Enough

    def end(self, kind: str, rows: int) -> None:
        self._inside += progress.clock() - self._entered
        self.parts[-1].calls[kind, rows] += self._weight

    def close(self) -> None:
        now = progress.clock()
        self.parts[-1].other += self._weight * max(0.0, now - self._since - self._inside)
        self._since, self._inside = now, 0.0

    def iterations(self, wanted: int) -> Iterator[int]:
        """The first few iterations of a fit, weighted to represent all."""
        few = min(wanted, FEW)
        self.close()
        before, self._weight = self._weight, self._weight * wanted / max(few, 1)
        yield from range(few)
        self.close()
        self._weight = before


def sketched(
    sample: Callable[..., Any],
    prior: Prior,
    measurement: Measurement,
    settings: Settings,
    shape: Sequence[int],
    steps: int,
) -> list[Part]:
    """The parts of the call that `sample` will make for this measurement, in `steps` steps.

    Where the sketch takes too long, the steps that it did not reach are taken to be like the last. Empty where it
    fails, as that of a method may that looks into the prior.
    """
    meter = Sketch(progress.clock() + SECONDS + SECONDS_A_STEP * steps)
    own = copy.deepcopy(measurement).to(settings.device, settings.dtype)
    noise = Noise(settings.seed, [f"sketch-{row}" for row in range(shape[0])], "sketch", device=settings.device)
    before = fits.ITERATIONS.set(meter.iterations)
    silent = io.StringIO()
    try:
        with unchanged(0), redirect_stdout(silent), redirect_stderr(silent), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample(CallCounter(Outline(prior, shape[1:]), listener=meter), own, noise, Trace(keep=(), tick=meter.tick))
        meter.close()
        return meter.parts
    except Enough:
        parts = meter.parts[:-1]
        return parts + parts[-1:] * (steps - len(parts))
    except Exception:  # the call itself will say what is wrong
        return []
    finally:
        fits.ITERATIONS.reset(before)

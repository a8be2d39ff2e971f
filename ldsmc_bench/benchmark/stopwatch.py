"""Moments of a sampler's pass, read without waiting for the device, and the time that its networks take of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from ldsmc_bench.prior.counting import Counted

Moment = float | torch.cuda.Event
Out = TypeVar("Out")


@dataclass
class Stopwatch:
    """Ticks divide a pass into intervals; spans are parts of them, kept with the number of their interval."""

    device: torch.device
    ticks: list[Moment] = field(default_factory=list)
    spans: list[tuple[int, Moment, Moment]] = field(default_factory=list)

    def now(self) -> Moment:
        """This moment; on a GPU that at which it gets here."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def tick(self) -> None:
        self.ticks.append(self.now())

    def span(self, begun: Moment, ended: Moment) -> None:
        self.spans.append((len(self.ticks) - 1, begun, ended))

    def intervals(self) -> tuple[list[float], list[float]]:
        """Seconds between ticks, and those of them that spans cover. Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        whole = [_seconds(begun, ended) for begun, ended in zip(self.ticks, self.ticks[1:], strict=False)]
        covered = [0.0] * len(whole)
        for number, begun, ended in self.spans:
            covered[number] += _seconds(begun, ended)
        return whole, covered


@dataclass(frozen=True)
class Timed(Counted):
    """A prior whose networks' passes, forward and backward, are spans of a watch."""

    watch: Stopwatch = field(kw_only=True)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self._timed(lambda z: super(Timed, self).eps(z, t), lambda eps: eps, z)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._timed(lambda z: super(Timed, self).eps_and_variance(z, t), lambda both: both[0], z)

    def encode(self, x: Tensor) -> Tensor:
        return self._timed(super().encode, lambda z: z, x)

    def decode(self, z: Tensor) -> Tensor:
        return self._timed(super().decode, lambda x: x, z)

    def _timed(self, network: Callable[[Tensor], Out], output: Callable[[Out], Tensor], z: Tensor) -> Out:
        """The backward pass lies between the gradient of the output and that of the input, to which nothing but the
        network contributes: hence the view."""
        watch, inner = self.watch, z.view_as(z)
        begun = watch.now()
        result = network(inner)
        out = output(result)
        if out is inner:  # a pixel prior's codec
            return result
        watch.span(begun, watch.now())
        if inner.requires_grad and out.requires_grad:
            started: list[Moment] = []
            out.register_hook(lambda _: started.append(watch.now()))
            inner.register_hook(lambda _: watch.span(started.pop(), watch.now()))
        return result


def _seconds(begun: Moment, ended: Moment) -> float:
    if isinstance(begun, float) and isinstance(ended, float):
        return ended - begun
    assert isinstance(begun, torch.cuda.Event) and isinstance(ended, torch.cuda.Event)
    return begun.elapsed_time(ended) / 1000

"""Seconds, operations and memory of a sampler's pass, and how fast the machine multiplies matrices."""

import ctypes
import platform
import resource
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ldsmc_bench.config import PRECISIONS
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.running.restore import allow_tf32
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.speed.setup import Setup

Moment = float | torch.cuda.Event
SIDES = {"cuda": (8192, 16384), "cpu": (1024, 2048)}  # of the matrices
MEMORY_WORDS = {
    "cuda": "peak memory: the most that PyTorch had allocated, networks included",
    "cpu": "peak memory: the growth of the process's largest resident size in a pass, networks not included",
}
ATTENTION_ON_CPU = {  # fused, and unknown to PyTorch's counter
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v)
    ),
}


class Pass(NamedTuple):
    """Seconds of each interval of a pass, how many of them networks took, and the most MB in use."""

    seconds: list[float]
    in_networks: list[float]
    memory_mb: float


@dataclass
class Stopwatch:
    """Moments of a pass, taken without waiting for the device. Ticks divide the pass into intervals; a network's call
    lasts from `begin` to `end`, and belongs to the interval in which it ends."""

    device: torch.device
    ticks: list[Moment] = field(default_factory=list)
    begun: dict[str, list[Moment]] = field(default_factory=lambda: defaultdict(list))
    spans: list[tuple[int, Moment, Moment]] = field(default_factory=list)

    def now(self) -> Moment:
        """This moment; on a GPU the moment at which the device gets here."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def tick(self) -> None:
        self.ticks.append(self.now())

    def begin(self, kind: str, rows: int) -> None:
        self.begun[kind].append(self.now())

    def end(self, kind: str, rows: int) -> None:
        self.spans.append((len(self.ticks) - 1, self.begun[kind].pop(), self.now()))

    def intervals(self) -> tuple[list[float], list[float]]:
        """Seconds between ticks, and how many of them networks took. Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        whole = [_seconds(begun, ended) for begun, ended in pairwise(self.ticks)]
        in_networks = [0.0] * len(whole)
        for number, begun, ended in self.spans:
            in_networks[number] += _seconds(begun, ended)
        return whole, in_networks


def _seconds(begun: Any, ended: Any) -> float:
    return ended - begun if isinstance(ended, float) else begun.elapsed_time(ended) / 1000


class Watched(CallCounter):
    """Gives the networks views of their inputs: only a network contributes to the gradient of its view, so that its
    backward pass ends where that gradient is known. FlopCounterMode, too, takes no leaves as inputs."""

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return super().eps(z.view_as(z), t)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return super().eps_and_variance(z.view_as(z), t)

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x.view_as(x))

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z.view_as(z))


def time_pass(setup: Setup) -> Pass:
    """Run the short chain once, and time it. On a GPU, memory is all in use; elsewhere it is what the pass adds."""
    device = setup.settings.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError, AttributeError):  # elsewhere than on Linux the largest size so far remains
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    before = _largest_size()
    watch = Stopwatch(device)
    noise, watched = setup.noise(), Watched(setup.prior, listener=watch)
    watch.tick()
    setup.sample(watched, setup.measurement, noise, Trace(tick=watch.tick))
    watch.tick()
    on_gpu = device.type == "cuda"
    return Pass(
        *watch.intervals(), torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else _largest_size() - before
    )


def _largest_size() -> float:
    """Of this process, in MB."""
    with suppress(OSError):  # on Linux: `ru_maxrss` would begin at the size of the process that started this one
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def count_operations(setup: Setup) -> list[float]:
    """Floating-point operations of each interval of the first image's pass: matrices, convolutions, attention."""
    one = replace(setup, ids=setup.ids[:1], measurement=setup.measurement.select(torch.tensor([0])))
    watched = Watched(one.prior.conditioned([0]))
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU)
    with torch.compiler.set_stance("force_eager"), counter as mode:  # the counter sees nothing of compiled networks
        totals = [0]
        one.sample(watched, one.measurement, one.noise(), Trace(tick=lambda: totals.append(mode.get_total_flops())))
        totals.append(mode.get_total_flops())
    return [float(after - before) for before, after in pairwise(totals)]


@cache
def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a product of large square matrices: the fastest size's median."""
    allow_tf32(precision == "tf32")
    noise, rates = Noise(0, ["matrix"], "benchmark", device=device), []
    for side in SIDES[device.type]:
        a, b = (noise.normal(name, (side, side))[0].to(PRECISIONS[precision]) for name in ("left", "right"))
        timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
        rates.append(2 * side**3 / timer.blocked_autorange(min_run_time=0.5).median)
    return max(rates)


def describe_device(device: torch.device) -> str:
    """The device, the threads and the versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{device.type} ({name}{threads}), torch {torch.__version__}, Python {platform.python_version()}"

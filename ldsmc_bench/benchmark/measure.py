"""One line of the benchmark: a short chain is timed, its operations are counted, and both are told for 1000 steps."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ldsmc_bench.batch import allow_tf32
from ldsmc_bench.benchmark import machine, public_order
from ldsmc_bench.benchmark.case import Case, case
from ldsmc_bench.benchmark.course import Estimate, extrapolated, with_labels
from ldsmc_bench.benchmark.stopwatch import Stopwatch, Timed
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.sampling.trace import Trace

Sampler = Callable[..., Tensor]
PUBLIC_ORDER = (  # on both sides of a comparison: fits are the same work in any order, and would hide the rest
    "variant=released",
    "method.sample.latent_fit_iterations=0",
    "method.sample.pixel_fit=least_squares",
)
ROUNDS = 3
rate = cache(machine.matrix_rate)


@dataclass(frozen=True)
class Line:
    """What was measured of a point, an image's share at 1000 steps: seconds, of which `outside` (a share) are outside
    the networks; operations; MB at the most. `seconds` divides into the entries of Estimate."""

    order: str  # ours, or the public code's
    method: str
    variant: str
    task: str
    prior: str
    precision: str
    particles: int
    batch: int
    measured_steps: int
    seconds: Estimate
    pflop: float
    flops: float  # a second
    matrix_rate: float  # the machine's, of the same units
    memory_mb: float
    outside: float

    @property
    def told(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Runner:
    """What a line is measured of."""

    order: str
    posed: Case
    sample: Sampler
    prior: Prior


def ours(overrides: Sequence[str], images: int | None = None) -> Runner:
    """This project's sampler at one point."""
    posed = case(overrides, images)
    return Runner("ours", posed, posed.sample, posed.prior)


def public(overrides: Sequence[str]) -> Runner:
    """The same work in the public code's order: one image, fp32, nothing compiled."""
    kept = [one for one in overrides if not one.startswith(("precision=", "compile="))]
    posed = case([*kept, "precision=fp32", "compile=false"], 1)
    arguments = posed.settings.sample | posed.sample.keywords  # type: ignore[attr-defined]

    def sample(*given: Any) -> Tensor:
        return public_order.sample(*given, **arguments)

    return Runner("public", posed, sample, public_order.thawed(posed.prior))


def measured(runners: Sequence[Runner]) -> list[Line]:
    """A line for each: all are warmed up, then timed in turns, so that another load of the machine meets them alike,
    and their operations counted in the end. A moment's time is the median of its rounds."""
    memories, rounds = dict[int, float](), defaultdict[int, list[tuple[list[float], list[float]]]](list)
    for number in range(1 + ROUNDS):
        for i, runner in enumerate(runners):
            settings = runner.posed.settings
            allow_tf32(settings.precision == "tf32")
            before = machine.memory_begins(settings.device)
            passed = timed(runner.posed, runner.sample, runner.prior)
            memories[i] = machine.memory_peak(settings.device) - (0.0 if settings.device.type == "cuda" else before)
            if number > 0:
                rounds[i].append(passed)
    return [_line(runner, rounds[i], memories[i]) for i, runner in enumerate(runners)]


def _line(runner: Runner, rounds: Sequence[tuple[list[float], list[float]]], memory: float) -> Line:
    posed, settings = runner.posed, runner.posed.settings
    whole, inside = ([median(values) for values in zip(*lists, strict=True)] for lists in zip(*rounds, strict=True))
    found = (whole, inside, counted(posed, runner.sample, runner.prior))
    labels = posed.short.steps if runner.order == "public" else 0
    seconds, networks, operations = (
        extrapolated(with_labels(intervals, labels), posed.long, posed.short) for intervals in found
    )
    images = len(posed.ids)
    return Line(
        order=runner.order,
        method=settings.labels["method"],
        variant=settings.config["variant"],
        task=settings.labels["task"],
        prior=settings.config["prior"]["name"],
        precision=settings.precision,
        particles=settings.labels["particles"],
        batch=images,
        measured_steps=posed.short.steps,
        seconds=Estimate(*(value / images for value in asdict(seconds).values())),
        pflop=operations.whole / 1e15,
        flops=operations.whole * images / seconds.whole,
        matrix_rate=rate(settings.device, settings.precision),
        memory_mb=memory,
        outside=1 - networks.whole / seconds.whole,
    )


def timed(posed: Case, sample: Sampler, prior: Prior) -> tuple[list[float], list[float]]:
    """Seconds of each interval of a pass, and how many of them networks took."""
    watch = Stopwatch(posed.settings.device)
    trace = Trace(tick=watch.tick)
    noise, watched = posed.noise(), Timed(prior, watch=watch)
    watch.tick()
    sample(watched, posed.measurement, noise, trace)
    watch.tick()
    return watch.intervals()


def counted(posed: Case, sample: Sampler, prior: Prior) -> list[float]:
    """Floating-point operations of each interval of the first image's pass: of products of matrices, convolutions and
    attention."""
    one = replace(posed, ids=posed.ids[:1], measurement=posed.measurement.select(torch.tensor([0])))
    # PyTorch's counter wants no leaves as inputs, which a watched network's are not, and sees nothing of compiled ones
    watched = Timed(prior.conditioned([0]), watch=Stopwatch(posed.settings.device))
    counter = FlopCounterMode(display=False, custom_mapping=_attention_on_cpu())
    with torch.compiler.set_stance("force_eager"), counter as mode:
        totals = [0]
        sample(watched, one.measurement, one.noise(), Trace(tick=lambda: totals.append(mode.get_total_flops())))
        totals.append(mode.get_total_flops())
    return [float(after - before) for before, after in pairwise(totals)]


def _attention_on_cpu() -> dict[Any, Any]:
    """The CPU's fused attention, which PyTorch's counter does not know: two products forward, five backward."""
    aten = torch.ops.aten

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return _product(query, key[-2]) + _product((*query[:-1], key[-2]), value[-1])

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 3 * _product(query, key[-2]) + 2 * _product((*query[:-1], key[-2]), value[-1])

    names = ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward")
    return {getattr(aten, name): count for name, count in zip(names, (forward, backward), strict=True)}


def _product(left: Sequence[int], columns: int) -> int:
    """A batch of products: rows x inner of `left` by `columns`."""
    return 2 * int(torch.Size(left).numel()) * columns


def ratios(ours: Line, public: Line) -> dict[str, float]:
    """How many times as long the public order takes an image, and how many times as many operations."""
    return {
        "batch": ours.batch,
        "seconds": public.seconds.whole / ours.seconds.whole,
        "operations": public.pflop / ours.pflop,
    }


def comparable(overrides: Sequence[str]) -> list[str]:
    """A point as both sides of a comparison compute it, one image at once where no batch size is given, as the public
    code does. Raises UserError for another method than LD-SMC."""
    if any(one.startswith("method=") and one != "method=ldsmc" for one in overrides):
        raise UserError("--baseline: the public order is that of LD-SMC's code; leave other methods out")
    single = [] if any(one.startswith("batch_size=") for one in overrides) else ["batch_size=1"]
    return [*overrides, *single, *PUBLIC_ORDER]

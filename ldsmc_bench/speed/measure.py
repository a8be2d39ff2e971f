"""Lines of the benchmark: a short chain is timed, its operations are counted, both extrapolated to 1000 steps."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, median
from typing import Any, NamedTuple

from ldsmc_bench.config import compose
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.store import draw_stores, read
from ldsmc_bench.run import run
from ldsmc_bench.running.restore import allow_tf32
from ldsmc_bench.speed import public_order
from ldsmc_bench.speed.setup import STEPS, Setup, extrapolate, prepare
from ldsmc_bench.speed.timing import Pass, count_operations, matrix_rate, time_pass
from ldsmc_bench.text import text_table

PUBLIC_ORDER = (  # on both sides of a comparison: fits are the same work in any order, and would hide the rest
    "variant=released",
    "method.sample.latent_fit_iterations=0",
    "method.sample.pixel_fit=least_squares",
)
ORDERS = {"ours": "", "public": " in the public order", "published": " in the public order, networks too"}
ROUNDS = 3
DRAWS, DRAW_ROUNDS = 16, 7  # of `measure_draws`
LOADING = ("steps=2", "particles=1")  # of a run that loads what a process loads once
Line = dict[str, Any]
"""A row of the benchmark, as JSON has it: the names of the point; `seconds` an image, as `extrapolate` returns them, of
which the share `outside` is spent outside the networks; `pflop` an image; `flops` a second, beside the machine's
`matrix_rate`; the most memory in use."""


def make_comparable(overrides: Sequence[str]) -> list[str]:
    """A point as both sides of a comparison compute it, one image at once where no batch size is given, as the public
    code does. Raises UserError for another method than LD-SMC."""
    if any(one.startswith("method=") and one != "method=ldsmc" for one in overrides):
        raise UserError("--baseline: the public order is that of LD-SMC's code; leave other methods out")
    single = [] if any(one.startswith("batch_size=") for one in overrides) else ["batch_size=1"]
    return [*overrides, *single, *PUBLIC_ORDER]


def in_public_order(overrides: Sequence[str]) -> list[Setup]:
    """The same work in the public code's order, on our networks and on its own: one image, fp32, nothing compiled."""
    kept = [one for one in overrides if not one.startswith(("precision=", "compile="))]
    setup = prepare([*kept, "precision=fp32", "compile=false"], 1)
    sample = partial(public_order.sample, **setup.settings.sample | setup.sample.keywords)
    priors = {"public": public_order.thaw(setup.prior), "published": public_order.as_published(setup.prior)}
    return [replace(setup, order=order, sample=sample, prior=prior) for order, prior in priors.items()]


def measure(setups: Sequence[Setup]) -> list[Line]:
    """A line for each: all are warmed up, then timed in turns, so that another load of the machine affects them alike;
    their operations are counted in the end. An interval's time is the median of its rounds."""
    rounds: list[list[Pass]] = [[] for _ in setups]
    for _ in range(1 + ROUNDS):
        for setup, passes in zip(setups, rounds, strict=True):
            allow_tf32(setup.settings.precision == "tf32")
            passes.append(time_pass(setup))
    return [_line(setup, passes[1:]) for setup, passes in zip(setups, rounds, strict=True)]


def _line(setup: Setup, passes: Sequence[Pass]) -> Line:
    settings, images = setup.settings, len(setup.ids)
    measured = [
        [median(values) for values in zip(*(one.seconds for one in passes), strict=True)],
        [median(values) for values in zip(*(one.in_networks for one in passes), strict=True)],
        count_operations(setup),
    ]
    if setup.order != "ours":
        measured = [merge_labels(intervals, setup.kinds.steps) for intervals in measured]
    seconds, networks, operations = (extrapolate(intervals, setup.kinds) for intervals in measured)
    return {
        "order": setup.order,
        "method": settings.labels.method,
        "variant": settings.config["variant"],
        "task": settings.labels.task,
        "prior": settings.config["prior"]["name"],
        "precision": settings.precision,
        "particles": settings.labels.particles,
        "batch": images,
        "measured_steps": setup.kinds.steps,
        "seconds": {name: value / images for name, value in seconds.items()},
        "pflop": operations["whole"] / 1e15,
        "flops": operations["whole"] * images / seconds["whole"],
        "matrix_rate": matrix_rate(settings.device, settings.precision),
        "memory_mb": passes[-1].memory_mb,
        "outside": 1 - networks["whole"] / seconds["whole"],
    }


def merge_labels(intervals: Sequence[float], labels: int) -> list[float]:
    """Merge the intervals in which a label each is decoded, after the first one, into it, scaled to 1000 labels."""
    each, after = intervals[1 : labels + 1], intervals[labels + 1 :]
    return [intervals[0] + STEPS * fmean(each) + after[0], *after[1:]]


def measure_overhead(overrides: Sequence[str] = ()) -> dict[str, float]:
    """Measure a run on toyfaces: `images`, seconds of the `whole` and of `sampling`, and the `share` of the rest."""
    time_run([*overrides, *LOADING])
    timed = time_run(overrides)
    return {**timed._asdict(), "share": 1 - timed.sampling / timed.whole}


class Timed(NamedTuple):
    """A run of so many `images`: seconds of the `whole`, and of `sampling` all draws."""

    images: int
    whole: float
    sampling: float


def time_run(overrides: Sequence[str]) -> Timed:
    """Time a run on toyfaces from its configuration to its summary, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose("dataset=toyfaces", "wandb.mode=disabled", f"results_dir={folder}", *overrides)
        begun = time.perf_counter()
        store = run(cfg)
        whole = time.perf_counter() - begun
        sampling = sum(record["cost"]["seconds"] for drawn in draw_stores(store) for record in read(drawn))
    return Timed(cfg.n_images, whole, sampling)


def measure_draws(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the time of 16 draws of one image over that of 16 images, a batch each, in runs on toyfaces that take
    turns: the ratio of the `whole` and of `sampling`, each as `paired_ratio` returns it."""
    sides = (["n_images=1", f"draws={DRAWS}"], [f"n_images={DRAWS}", "draws=1"])
    for side in sides:
        time_run([*overrides, f"batch_size={DRAWS}", *side, *LOADING])
    rounds: list[list[Timed]] = []
    for number in range(DRAW_ROUNDS):
        turns = sides if number % 2 == 0 else sides[::-1]  # so that neither is always the first
        timed = [time_run([*overrides, f"batch_size={DRAWS}", *side]) for side in turns]
        rounds.append(timed if number % 2 == 0 else timed[::-1])
    pairs = {part: [[getattr(one, part) for one in pair] for pair in rounds] for part in ("whole", "sampling")}
    return {part: paired_ratio(*zip(*of_part, strict=True)) for part, of_part in pairs.items()}


def paired_ratio(ours: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """The `median` over rounds of the ratio of two times that were measured one after the other, with the `least` and
    the `most`: the load of a machine changes both alike, and an accident in one round moves the median little."""
    ratios = [own / other for own, other in zip(ours, others, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)}


def compare(ours: Line, public: Line) -> dict[str, Any]:
    """The time and the operations of a public order for an image, as multiples of ours."""
    return {
        "order": public["order"],
        **{key: ours[key] for key in ("particles", "precision", "batch")},
        "seconds": public["seconds"]["whole"] / ours["seconds"]["whole"],
        "operations": public["pflop"] / ours["pflop"],
    }


def comparison_text(ratio: dict[str, Any]) -> str:
    """A comparison in a sentence."""
    networks = "on the same networks" if ratio["order"] == "public" else "with its layout of networks and its quantiser"
    return (
        f"N={ratio['particles']} {ratio['precision']}: the public order {networks} takes {ratio['seconds']:.2f} times "
        f"as long as ours with batch {ratio['batch']}, and {ratio['operations']:.2f} times the operations"
    )


def lines_text(lines: Sequence[Line], width: int | None = None) -> str:
    """One row a line; times are an image's."""
    names = ("task", "prior", "precision")
    rows = [
        {
            "sampler": f"{line['method']}/{line['variant']}{ORDERS[line['order']]}",
            **{name: line[name] for name in names},
            "N": str(line["particles"]),
            "batch": str(line["batch"]),
            "start s": f"{line['seconds']['start']:.3g}",
            "step s": f"{line['seconds']['step']:.3g}",
            "k<s step s": f"{line['seconds']['labelled']:.3g}" if line["seconds"]["labelled"] else "-",
            "end s": f"{line['seconds']['end']:.3g}",
            f"s/image at {STEPS}": f"{line['seconds']['whole']:.1f}",
            "PFLOP/image": f"{line['pflop']:.3g}",
            "GFLOP/s": f"{line['flops'] / 1e9:.4g}",
            "of matrix rate": f"{100 * line['flops'] / line['matrix_rate']:.0f} %",
            "memory MB": f"{line['memory_mb']:.0f}",
            "outside networks": f"{100 * line['outside']:.1f} %",
        }
        for line in lines
    ]
    columns = {heading: [row[heading] for row in rows] for heading in rows[0]}
    return text_table(columns, left=("sampler", *names), repeat=1, width=width)

"""`ldsmc-bench speed [KEY=VALUE,VALUE ...]`: seconds and operations an image at 1000 steps, here and now.

Takes the overrides of a run's command; comma lists are swept. A short chain is warmed up and timed, and the medians of
its steps are extrapolated to 1000. Published priors have random weights, images are noise: neither changes the speed.
Without prior=... that is ldm_ffhq on a GPU and the embedded prior elsewhere.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.commands.messages import explaining
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import write_file


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = Options("speed", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run; comma lists are swept")
    orders = "the public code's order too: variant=released in both, without fits, a batch of 1 where none is given"
    parser.add_argument("--baseline", action="store_true", help=orders)
    parser.add_argument("--overhead", action="store_true", help="the cost of a run of toyfaces besides sampling")
    draws = "the time of 16 draws of one image over that of 16 images instead"
    parser.add_argument("--draws", action="store_true", help=draws)
    growth = "time and memory against N, batch, steps and size instead"
    parser.add_argument("--growth", action="store_true", help=growth)
    parser.add_argument("--figure", type=Path, default=Path("results/figures/benchmark.png"), help="of --growth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.read(arguments)
    with explaining(options.overrides):
        found = _growth(options) if options.growth else _draws(options) if options.draws else _lines(options)
    if options.json:
        write_file(options.json, json.dumps(found, indent=1).encode())


def _lines(options: argparse.Namespace) -> dict[str, Any]:
    from ldsmc_bench.speed import measure  # PyTorch is not there for --help
    from ldsmc_bench.speed.setup import expand_sweep, prepare
    from ldsmc_bench.speed.timing import MEMORY_WORDS, describe_device

    lines: list[measure.Line] = []
    ratios: list[dict[str, Any]] = []
    sweep = expand_sweep(options.overrides)
    if options.baseline:
        sweep = [measure.make_comparable(point) for point in sweep]
    for point in sweep:
        prepare(point)  # so that a mistake in any of them is reported before time is spent
    device = prepare(sweep[0]).settings.device
    for number, point in enumerate(sweep, start=1):
        print(f"{number} of {len(sweep)}: {' '.join(point)}", file=sys.stderr, flush=True)
        others = measure.in_public_order(point) if options.baseline else []
        ours, *public = measure.measure([prepare(point), *others])
        lines += [ours, *public]
        ratios += [measure.compare(ours, other) for other in public]
    print(measure.lines_text(lines, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    print("\n".join(["", *map(measure.comparison_text, ratios)]))
    print(
        f"measured on {describe_device(device)}: {lines[0]['measured_steps']} steps, {measure.ROUNDS} times in turns, "
        f"medians of each, means by kind; a matrix product {lines[0]['matrix_rate'] / 1e9:.4g} GFLOP/s; "
        f"{MEMORY_WORDS[device.type]}"
    )
    if device.type != "cuda":
        print("not known without a GPU: seconds and memory there, at 256 pixels, in bf16, compiled or as CUDA graphs")
    if overhead := measure.measure_overhead() if options.overhead else None:
        whole, beside = overhead["whole"], overhead["whole"] - overhead["sampling"]
        share = f"{100 * overhead['share']:.1f} % of {whole:.1f} s"
        print(f"overhead of a run of {overhead['images']} toyfaces: {beside:.2f} s, {share}")
    return {"machine": describe_device(device), "lines": lines, "ratios": ratios, "overhead": overhead}


def _draws(options: argparse.Namespace) -> dict[str, Any]:
    from ldsmc_bench.config import compose, validate
    from ldsmc_bench.speed.measure import DRAW_ROUNDS, DRAWS, measure_draws
    from ldsmc_bench.speed.setup import expand_sweep
    from ldsmc_bench.speed.timing import describe_device

    if options.baseline or len(expand_sweep(options.overrides)) > 1:
        raise UserError("--draws: give one value of each key, and leave --baseline out")
    settings = validate(compose("dataset=toyfaces", *options.overrides))
    ratios, labels = measure_draws(options.overrides), settings.labels
    texts = [f"{part} {one['median']:.3f} ({one['least']:.3f} to {one['most']:.3f})" for part, one in ratios.items()]
    print(
        f"{labels.method} {labels.task}, N={labels.particles}, {labels.steps} steps: time of {DRAWS} draws of one "
        f"image over that of {DRAWS} images, median of {DRAW_ROUNDS} rounds (least to most): {', '.join(texts)}"
    )
    print(f"measured on {describe_device(settings.device)}")
    return {"machine": describe_device(settings.device), "draws": DRAWS, "ratios": ratios}


def _growth(options: argparse.Namespace) -> dict[str, Any]:
    from ldsmc_bench.speed import growth
    from ldsmc_bench.speed.setup import expand_sweep, prepare
    from ldsmc_bench.speed.timing import MEMORY_WORDS, describe_device

    if options.baseline or len(expand_sweep(options.overrides)) > 1:
        raise UserError("--growth: it sweeps by itself; give one value of each key, and leave --baseline out")
    settings = prepare(options.overrides, 1).settings
    device, points = settings.device, []
    print(growth.HEADINGS)
    for point in growth.measure_growth(options.overrides):
        points.append(point)
        print(point, flush=True)
    labels, prior = settings.labels, settings.config["prior"]["name"]
    title = f"{labels.method} {labels.task}, {prior}, {settings.precision}, {device.type}"
    print(growth.draw(points, title, device.type, options.figure))
    print(f"measured on {describe_device(device)}; {MEMORY_WORDS[device.type]}")
    return {"machine": describe_device(device), "points": [point._asdict() for point in points]}

"""`python -m ldsmc_bench.benchmark [KEY=VALUE,VALUE ...]`: seconds and operations an image at 1000 steps, here and now.

Takes the overrides of a run's command; comma lists are swept. A short chain is warmed up and timed, and the medians of
its steps are told for 1000. Published priors have random weights, images are noise: neither changes the speed. Without
prior=... that is ldm_ffhq on a GPU and the embedded prior elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ldsmc_bench.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was measured; 0, or 2 with one line for the user's mistakes."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.benchmark", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run; comma lists are swept")
    parser.add_argument(
        "--baseline",
        action="store_true",
        help="the public code's order too: variant=released in both, without fits, a batch of 1 where none is given",
    )
    parser.add_argument("--overhead", action="store_true", help="what a run of toyfaces costs besides sampling")
    parser.add_argument(
        "--growth", action="store_true", help="time and memory against N, batch, steps and size instead"
    )
    parser.add_argument("--figure", type=Path, default=Path("results/figures/benchmark.png"), help="of --growth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_intermixed_args(arguments)
    try:
        found = _growth(options) if options.growth else _lines(options)
        if options.json:
            _write(options.json, found)
    except Exception as error:
        from ldsmc_bench.composition import explained

        line = explained(error, options.overrides)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2
    return 0


def _lines(options: argparse.Namespace) -> dict[str, Any]:
    from ldsmc_bench.benchmark import machine
    from ldsmc_bench.benchmark.case import case, points
    from ldsmc_bench.benchmark.measure import ROUNDS, Line, comparable, measured, ours, public, ratios
    from ldsmc_bench.benchmark.overhead import overhead, told
    from ldsmc_bench.benchmark.table import compared, table

    lines: list[Line] = []
    found: list[dict[str, Any]] = []
    said: list[str] = []
    sweep = [comparable(point) if options.baseline else point for point in points(options.overrides)]
    for point in sweep:
        case(point)  # what is wrong with any of them is said before time is spent
    device = case(sweep[0]).settings.device
    for number, point in enumerate(sweep, start=1):
        print(f"{number} of {len(sweep)}: {' '.join(point)}", file=sys.stderr, flush=True)
        if not options.baseline:
            lines += measured([ours(point)])
            continue
        one, other = measured([ours(point), public(point)])
        lines += [one, other]
        found.append(ratios(one, other) | {"particles": one.particles, "precision": one.precision})
        said.append(compared(one, found[-1]))
    print(table(lines))
    print("\n".join(["", *said]) if said else "")
    print(
        f"measured on {machine.described(device)}: {lines[0].measured_steps} steps, {ROUNDS} times in turns, medians "
        f"of each, means by kind; a matrix product {lines[0].matrix_rate / 1e9:.4g} GFLOP/s; "
        f"{machine.memory_words(device)}"
    )
    told_of = overhead() if options.overhead else None
    if told_of:
        print("\n".join(told(told_of)))
    return {
        "machine": machine.described(device),
        "lines": [line.told for line in lines],
        "ratios": found,
        "overhead": asdict(told_of) | {"share": told_of.share} if told_of else None,
    }


def _growth(options: argparse.Namespace) -> dict[str, Any]:
    from ldsmc_bench.benchmark import growth, machine
    from ldsmc_bench.benchmark.case import case, points

    if options.baseline or len(points(options.overrides)) > 1:
        raise UserError("--growth: it sweeps by itself; give one value of each key, and leave --baseline out")
    settings = case(options.overrides, 1).settings
    found = []
    for point in growth.growth(options.overrides):
        found.append(point)
        print(growth.told(found)[0 if len(found) == 1 else -1], flush=True)
        if len(found) == 1:
            print(growth.told(found)[1], flush=True)
    seconds = growth.resume_scan()
    print(f"{growth.FINISHED} finished images are found in {seconds:.2f} s")
    names = settings.labels | {"prior": settings.config["prior"]["name"]}
    title = f"{names['method']} {names['task']}, {names['prior']}, {settings.precision}, {settings.device.type}"
    print(growth.draw(found, title, settings.device.type, options.figure))
    print(f"measured on {machine.described(settings.device)}; {machine.memory_words(settings.device)}")
    return {
        "machine": machine.described(settings.device),
        "points": [point._asdict() for point in found],
        "resume_scan": {"images": growth.FINISHED, "seconds": seconds},
    }


def _write(path: Path, found: dict[str, Any]) -> None:
    from ldsmc_bench.records.publish import replace, writing

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(found, indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())

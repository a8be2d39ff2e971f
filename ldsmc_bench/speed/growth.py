"""Growth of time and memory with particles, images at once, steps, and an image's side."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ldsmc_bench.files import write_file
from ldsmc_bench.speed.setup import prepare
from ldsmc_bench.speed.timing import time_pass

GRID: Mapping[str, Sequence[int]] = {
    "particles": (1, 2, 5, 10, 20, 50),
    "images at once": (1, 2, 4, 8, 16, 32, 64),
    "steps": (8, 16, 32, 64),
    "side of an image": (64, 128, 256),
}
FIXED = {"particles": 1, "images at once": 1, "steps": 8, "side of an image": None}  # while another grows
HEADINGS = f"{'':24}  s/image/step  memory MB"
SPREAD = 3  # times as much: past it, an axis is logarithmic
MEMORY = {"cuda": "peak memory [MB]", "cpu": "memory of a pass [MB]"}
COLOURS = ("#D55E00", "#0072B2")


class Point(NamedTuple):
    """A place on an axis, with seconds of a step and image, and MB; None where the pass did not fit."""

    axis: str
    at: int
    seconds: float | None
    memory_mb: float | None

    def __str__(self) -> str:
        seconds = "does not fit" if self.seconds is None else f"{self.seconds:.4f}"
        memory = "-" if self.memory_mb is None else f"{self.memory_mb:.0f}"
        return f"{self.axis:18}{self.at:6d}  {seconds:>12}  {memory:>9}"


def measure_growth(overrides: Sequence[str], grid: Mapping[str, Sequence[int]] = GRID) -> Iterator[Point]:
    """Every point of the grid, along one axis at a time, as it is measured."""
    kept = [one for one in overrides if one.partition("=")[0] not in ("particles", "steps", "batch_size")]
    for axis, at in ((axis, at) for axis, places in grid.items() for at in places):
        particles, images, steps, side = (FIXED | {axis: at}).values()
        try:
            setup = prepare([*kept, f"particles={particles}", f"steps={steps}"], images, side)
            time_pass(setup)  # warms up
            seconds, _, memory = time_pass(setup)
            yield Point(axis, at, fmean(seconds[1:-1]) / len(setup.ids), memory)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            yield Point(axis, at, None, None)


def draw(points: Sequence[Point], title: str, device: str, path: Path) -> Path:
    """Draw seconds above and memory below, a column for each axis, as `path` (PNG) and a PDF beside it."""
    axes = list(dict.fromkeys(point.axis for point in points))
    figure = Figure(figsize=(2.3 * max(len(axes), 2), 4.5), layout="constrained")
    figure.suptitle(title, fontsize=9, fontweight="bold")
    panels = figure.subplots(2, len(axes), squeeze=False)
    rows = (("s an image and step", "seconds"), (MEMORY[device], "memory_mb"))
    for (label, field), colour, row in zip(rows, COLOURS, panels, strict=True):
        row[0].set_ylabel(label)
        for axis, panel in zip(axes, row, strict=True):
            known = {p.at: getattr(p, field) for p in points if p.axis == axis and p.seconds is not None}
            panel.plot(list(known), list(known.values()), color=colour, marker="o", markersize=4)
            panel.set_xscale("log", base=2)
            panel.set_xticks(list(known), [str(at) for at in known])
            panel.set_xlabel(axis if row is panels[-1] else "")
            _scale(panel, list(known.values()))
            panel.minorticks_off()
    for name in (path.with_suffix(".pdf"), path):
        file = io.BytesIO()
        figure.savefig(file, format=name.suffix[1:], dpi=200)
        write_file(name, file.getvalue())
    return path


def _scale(panel: Axes, values: Sequence[float]) -> None:
    """Logarithmic where there is growth, which is then a slope; from 0 where there is little."""
    if max(values) > SPREAD * min(values) > 0:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
    else:
        panel.set_ylim(0, 1.15 * max(values))

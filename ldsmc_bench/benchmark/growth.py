"""How time and memory grow: with particles, images at once, steps, an image's side, and images that are finished."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from ldsmc_bench.benchmark import machine
from ldsmc_bench.benchmark.case import case
from ldsmc_bench.benchmark.measure import timed
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, finished, open_store
from ldsmc_bench.report.figures_style import LOOK, plain_grid, save, style

Grid = Mapping[str, Sequence[int]]
GRID: Grid = {
    "particles": (1, 2, 5, 10, 20, 50),
    "images at once": (1, 2, 4, 8, 16, 32, 64),
    "steps": (8, 16, 32, 64),
    "side of an image": (64, 128, 256),
}
ALONE = {"particles": 1, "images at once": 1, "steps": 8}  # what stands still while another grows
FINISHED = 100_000
SPREAD = 3  # times as much: past it, an axis is logarithmic
MEMORY = {"cuda": "peak memory [MB]", "cpu": "memory of a pass [MB]"}


class Point(NamedTuple):
    """A place on an axis, and there seconds of a step and an image and MB, None where the pass did not fit."""

    axis: str
    at: int
    seconds: float | None
    memory_mb: float | None


def growth(overrides: Sequence[str], grid: Grid = GRID) -> Iterator[Point]:
    """Every point of the grid, along one axis at a time, as it is measured."""
    for axis, places in grid.items():
        for at in places:
            try:
                yield _measured(overrides, axis, at)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                yield Point(axis, at, None, None)


def _measured(overrides: Sequence[str], axis: str, at: int) -> Point:
    chosen = ALONE | {axis: at}
    side = at if axis == "side of an image" else None
    posed = case(_overridden(overrides, chosen), chosen["images at once"], side)
    device = posed.settings.device
    timed(posed, posed.sample, posed.prior)
    before = machine.memory_begins(device)
    whole, _ = timed(posed, posed.sample, posed.prior)
    memory = machine.memory_peak(device) - (0.0 if device.type == "cuda" else before)
    return Point(axis, at, sum(whole[1:-1]) / (len(whole) - 2) / len(posed.ids), memory)


def _overridden(overrides: Sequence[str], chosen: Mapping[str, int]) -> list[str]:
    kept = [one for one in overrides if one.partition("=")[0] not in ("particles", "steps", "batch_size")]
    return [*kept, f"particles={chosen['particles']}", f"steps={chosen['steps']}"]


def resume_scan(images: int = FINISHED) -> float:
    """Seconds until it is known which of many finished images a run has, on a store that is made up and removed."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder, "made-up", "steps: 1000\n")
        for i in range(images):
            _record(store, f"{i:06}")
        begun = time.perf_counter()
        found = finished(store)
        seconds = time.perf_counter() - begun
    assert len(found) == images
    return seconds


def _record(store: Store, image_id: str) -> None:
    """As large as a record of 100 steps."""
    record: Record = {
        "run_id": store.run_id,
        "image_id": image_id,
        "method": "ldsmc",
        "task": "box",
        "dataset": "made-up",
        "seed": 0,
        "steps": 100,
        "particles": 5,
        "status": "ok",
        "metrics": {},
        "cost": {},
        "diagnostics": {"ess": [5 / (step + 1) for step in range(100)]},
    }
    (store.root / "records" / f"{image_id}.json").write_text(json.dumps(record))


def draw(points: Sequence[Point], title: str, device: str, path: Path) -> Path:
    """Seconds above, memory below, a column for each axis; as `path` (PNG) and a PDF beside it. Returns the PNG's."""
    axes = list(dict.fromkeys(point.axis for point in points))
    rows: list[tuple[str, Callable[[Point], float | None]]] = [
        ("s an image and step", lambda point: point.seconds),
        (MEMORY[device], lambda point: point.memory_mb),
    ]
    with rc_context(LOOK):
        labels = [label if i == 0 else "" for label, _ in rows for i in range(len(axes))]
        figure, panels = plain_grid(labels, title, across=len(axes))
        for i, panel in enumerate(panels):
            axis, (_, value) = axes[i % len(axes)], rows[i // len(axes)]
            found = [(point.at, value(point)) for point in points if point.axis == axis]
            known = [(at, y) for at, y in found if y is not None]
            look = style(1 + i // len(axes))
            panel.plot(*zip(*known, strict=True), color=look["colour"], marker=look["marker"])
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_locator(FixedLocator([at for at, _ in found]))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xticklabels([f"{at}" for at, _ in found])
            _scale(panel, [y for _, y in known])
            if i >= len(axes):
                panel.set_xlabel(axis)
        return save(figure, path.parent, path.stem)


def _scale(panel: Axes, values: Sequence[float]) -> None:
    """Logarithmic where there is growth, which is then a slope; from 0 where there is little."""
    if max(values) > SPREAD * min(values) > 0:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
    else:
        panel.set_ylim(0, 1.15 * max(values))


def told(points: Sequence[Point]) -> list[str]:
    """For a terminal: a line for each point."""
    lines = [f"{'':18}{'':>6}  {'s/image/step':>12}  {'memory MB':>9}"]
    for point in points:
        numbers = ["does not fit", "-"] if point.seconds is None else [f"{point.seconds:.4f}", f"{point.memory_mb:.0f}"]
        lines.append(f"{point.axis:18}{point.at:6d}  {numbers[0]:>12}  {numbers[1]:>9}")
    return lines

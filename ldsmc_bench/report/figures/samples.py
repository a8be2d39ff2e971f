"""`python -m ldsmc_bench samples`: chosen images as methods restored them, side by side, with zoomed details.

A PDF and a PNG for each task and data set, in results/figures, with names as in tables, and `<name>_caption.tex`.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import patheffects, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.errors import UserError, nearest, warn
from ldsmc_bench.records.problems import columns, problem_of_run, read_picture
from ldsmc_bench.records.status import asked
from ldsmc_bench.records.store import Store, is_unpublished, of_draw, outcomes, read, read_image
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import plot
from ldsmc_bench.report.figures.__main__ import Wish, add_looks, keep, options_of, tasks, wish_of
from ldsmc_bench.report.figures.kinds import configurations
from ldsmc_bench.report.figures.plot import TaskRuns
from ldsmc_bench.report.select import require_ours, require_some, require_values, select_runs
from ldsmc_bench.report.tables.layout import add_selection
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.text import number, printable

FIRST = 4  # images, unless they are chosen
GAP = 0.03  # inches between pictures
BOXES = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73")
LEAST = 5.0  # points: headings are set no smaller
ABSENT = "0.88"


class Box(NamedTuple):
    """A square detail, in pixels of the largest picture of a row, from its upper left corner."""

    left: int
    top: int
    side: int


class Column(NamedTuple):
    """A heading and the pictures below it, uint8 (h,w,3), or a word in the place of one; with a text for each."""

    heading: str
    pictures: list[NDArray[np.uint8] | str]
    texts: list[str]


class Choice(NamedTuple):
    """The choice of what to show: images by id or place, draws, details, and a metric's value in each picture."""

    images: Sequence[str]
    draws: Sequence[int]
    boxes: Sequence[Box]
    metric: str | None


def columns_of(of_task: TaskRuns, choice: Choice) -> tuple[list[Column], list[str], int]:
    """The columns of a sheet, the ids of its images, and the seed: that of most settings, the first of them.

    Raises UserError for an image that no run has.
    """
    seed = int(of_task.runs["seed"].mode().min())
    groups = [(label, runs[runs["seed"] == seed]) for label, runs in configurations(of_task, lambda r: r["n"] >= 0)]
    shown = [(label, runs.iloc[0]) for label, runs in groups if len(runs)]
    stores = [Store(of_task.results_dir / "runs" / run["run_id"], run["run_id"]) for _, run in shown]
    ids = choose_images(stores, choice.images)
    found = []
    if problem := problem_of_run(stores[0]):
        for kind in columns(problem):
            pictures = [read_picture(problem, kind, image_id) for image_id in ids]
            kept = ["not kept" if one is None else one for one in pictures]
            found.append(Column(kind.capitalize(), kept, [""] * len(ids)))
    for (label, run), store in zip(shown, stores, strict=True):
        name = of_task.name(str(run["method"]))
        for draw in (draw for draw in choice.draws if draw < max(run["draws"], 1)):
            one = of_draw(store, draw)
            states = outcomes(one, ids) if (one.folder / "records").is_dir() else {}
            states |= {i: "missing" for i in ids if i not in states or is_unpublished(one, i)}
            kept = [read_image(one, i) if states[i] == "ok" else states[i] for i in ids]
            values = {row["image_id"]: row["metrics"].get(choice.metric or "") for row in read(one, [*states])}
            texts = [_value(choice.metric, values.get(image_id)) for image_id in ids]
            lines = [name, plot.figure_text(label) if label else "", f"draw {draw}" if len(choice.draws) > 1 else ""]
            found.append(Column("\n".join(filter(None, lines)), kept, texts))
    if choice.draws and min(choice.draws) >= max(run["draws"] for _, run in shown):
        raise UserError(f"draws={min(choice.draws)}: no run of {of_task.title} was asked for this draw (draws=K)")
    return found, ids, seed


def _value(metric: str | None, value: float | None) -> str:
    return "" if metric is None or value is None else number(value, PROTOCOLS[metric].digits)


def choose_images(stores: Sequence[Store], wanted: Sequence[str]) -> list[str]:
    """The ids of the images named by id or by their place in the data set, from 0; without any, the first."""
    first = [image_id for store in stores[:1] if (request := asked(store)) for image_id in request.first]
    known = list(dict.fromkeys([*first, *(image_id for store in stores for image_id in sorted(outcomes(store)))]))
    chosen = []
    for one in wanted or map(str, range(min(FIRST, len(known)))):
        if one not in known and not (one.isdecimal() and int(one) < len(known)):
            raise UserError(
                f"images={one}: no run has this image; {nearest(one, known[:50])}, or 0 to {len(known) - 1}"
            )
        chosen.append(one if one in known else known[int(one)])
    return chosen


def draw(shown: Sequence[Column], boxes: Sequence[Box], width: float, font: float) -> Figure:
    """The sheet, `width` inches wide. Raises UserError for a box that leaves a picture."""
    side = (width - GAP * (len(shown) - 1)) / len(shown)
    there = [one for column in shown for one in column.pictures if not isinstance(one, str)]
    first = max(there, key=lambda one: one.shape[0], default=None)  # a measurement may be smaller
    ratio = first.shape[0] / first.shape[1] if first is not None else 1.0
    for box in boxes:
        if first is not None and not (box.left + box.side <= first.shape[1] and box.top + box.side <= first.shape[0]):
            raise UserError(
                f"zoom={box.left},{box.top},{box.side}: leaves the picture of {first.shape[1]}x{first.shape[0]}"
            )
    detail = (side - GAP * (len(boxes) - 1)) / len(boxes) if boxes else 0.0
    heading = 0.02 + max(column.heading.count("\n") + 1 for column in shown) * font * 1.25 / 72
    rows = len(shown[0].pictures)
    row = side * ratio + (detail + GAP if boxes else 0) + GAP * (3 if boxes else 1)
    height = heading + rows * row
    figure = Figure(figsize=(width, height))

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        panel = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        panel.set_axis_off()
        return panel

    headings = []
    for j, column in enumerate(shown):
        left = j * (side + GAP)
        middle = (left + side / 2) / width, 1 - (heading - 0.03) / height
        headings.append(figure.text(*middle, column.heading, ha="center", va="bottom", fontsize=font, linespacing=1.1))
        for i, (picture, text) in enumerate(zip(column.pictures, column.texts, strict=True)):
            top = heading + i * row
            places = (
                [] if isinstance(picture, str) or first is None else [_within(box, picture, first) for box in boxes]
            )
            _show(place(left, top, side, side * ratio), picture, text, places, font)
            for k in range(len(boxes)):
                panel = place(left + k * (detail + GAP), top + side * ratio + GAP, detail, detail)
                _show(panel, "" if isinstance(picture, str) else picture, "", (), font)
                if places:
                    x, y, wide, high = places[k]
                    panel.set(xlim=(x, x + wide), ylim=(y + high, y))
                panel.add_patch(_frame(panel, BOXES[k % len(BOXES)]))
    widest = max(one.get_window_extent().width / figure.dpi for one in headings)
    if widest * LEAST / font > side + GAP:
        remedy = "fewer by where=method=... or draws=..., or a larger width=INCHES"
        warn(f"{len(shown)} columns of {side:.2f} in: headings of {LEAST:g} pt overlap; give {remedy}")
    for one in headings:
        one.set_fontsize(max(LEAST, min(font, font * side / widest)))
    return figure


def _within(box: Box, picture: NDArray[np.uint8], largest: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in the coordinates of `picture`, whose pixels have their centres at whole
    numbers; it shows as much as `largest`, of which the box counts pixels."""
    down, across = (a / b for a, b in zip(picture.shape[:2], largest.shape[:2], strict=True))
    return box.left * across - 0.5, box.top * down - 0.5, box.side * across, box.side * down


def _show(
    panel: Axes,
    picture: NDArray[np.uint8] | str,
    text: str,
    boxes: Sequence[tuple[float, float, float, float]],
    font: float,
) -> None:
    if isinstance(picture, str):
        panel.add_patch(Rectangle((0, 0), 1, 1, transform=panel.transAxes, color=ABSENT, linewidth=0))
        panel.text(0.5, 0.5, picture, ha="center", va="center", transform=panel.transAxes, fontsize=font - 1)
        return
    panel.imshow(picture, interpolation="none", aspect="auto")
    for k, (x, y, wide, high) in enumerate(boxes):
        edge: dict[str, Any] = {"edgecolor": BOXES[k % len(BOXES)], "facecolor": "none", "linewidth": 0.8}
        panel.add_patch(Rectangle((x, y), wide, high, **edge))
    if text:
        seen = [patheffects.withStroke(linewidth=1.5, foreground="black")]
        style: dict[str, Any] = {"color": "white", "fontsize": font - 2, "path_effects": seen}
        panel.text(0.04, 0.04, text, ha="left", va="bottom", transform=panel.transAxes, **style)


def _frame(panel: Axes, colour: str) -> Rectangle:
    return Rectangle((0, 0), 1, 1, transform=panel.transAxes, edgecolor=colour, facecolor="none", linewidth=1.2)


def samples(results_dir: Path, choice: Choice, wish: Wish) -> Iterator[str]:
    """Make the sheets one by one; yields a line for each, and one for runs left out. Raises UserError where no run has
    images."""
    runs, layout, looks = frame.runs(results_dir), wish.layout or options_of(), wish.looks
    require_ours(layout.ours, runs)
    require_values(layout.where, runs)
    selected, left_out = select_runs(layout, runs)
    require_some(selected, results_dir)
    images = {run_id: pd.DataFrame() for run_id in selected["run_id"]}
    if left_out:
        yield left_out
    for of_task in tasks(selected, images, results_dir, layout):
        shown, ids, seed = columns_of(of_task, choice)
        text = f"{of_task.title[:1].upper()}{of_task.title[1:]}: {', '.join(ids)}, seed {seed}"
        draws = ", ".join(str(number) for number in choice.draws if number < of_task.runs["draws"].max())
        text += f", draws {draws}." if draws not in ("", "0") else "."
        text += " Below pictures: their marked details." * bool(choice.boxes)
        if choice.metric:
            text += f" In pictures: {PROTOCOLS[choice.metric].label}."
        with rc_context(plot.look(looks.font, paper=looks.width is not None)):
            sheet = draw(shown, choice.boxes, looks.width or 6.9, looks.font)
            lines = keep("samples", sheet, f"samples-{of_task.task}-{of_task.dataset}", text, wish, results_dir)
        yield from lines


def read_box(text: str) -> Box:
    """`Box(20, 12, 16)` of `20,12,16`. Raises UserError."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts) or int(parts[2]) < 2:
        raise UserError(f"zoom={text}: must be LEFT,TOP,SIDE in pixels, such as zoom=20,12,16")
    return Box(*map(int, parts))


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the sheets and print their paths; the exit code is 0, or 2 with one line that names the mistake."""
    parser = Options("samples", __doc__, results_dir=True)
    parser.add_argument("--images", metavar="ID,...", help=f"ids, or places from 0 (default: the first {FIRST})")
    parser.add_argument("--draws", default="0", metavar="0,1,...", help="numbers of draws (default: 0)")
    parser.add_argument("--zoom", action="append", default=[], metavar="LEFT,TOP,SIDE", help="a detail; up to four")
    parser.add_argument("--metric", metavar="NAME", help="its value in each picture")
    add_selection(parser)
    add_looks(parser)
    options = parser.read(arguments)
    require_runs(options.results_dir)
    if options.metric and (options.metric not in PROTOCOLS or PROTOCOLS[options.metric].per != "image"):
        able = [name for name, one in PROTOCOLS.items() if one.per == "image"]
        raise UserError(f"metric={options.metric}: no such metric of an image; {nearest(options.metric, able)}")
    numbers = options.draws.split(",")
    if wrong := [one for one in numbers if not one.isdecimal()]:
        raise UserError(f"draws={wrong[0]}: must be numbers of draws, such as draws=0,1")
    boxes = [read_box(text) for text in options.zoom]
    choice = Choice(options.images.split(",") if options.images else (), list(map(int, numbers)), boxes, options.metric)
    for line in samples(options.results_dir, choice, wish_of(options, "samples", arguments)):
        print(printable(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Shared by all figures: the runs of a task, styles, panels, and the files.

Colours are told apart by colour-blind eyes, dashes and markers in a grey print.
"""

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from ldsmc_bench.files import replace, writing
from ldsmc_bench.report.frame import Images
from ldsmc_bench.report.select import NAMES, display_name
from ldsmc_bench.report.statistics import metrics_of
from ldsmc_bench.scoring.protocols import Protocol

# Okabe & Ito, "Color Universal Design" (2008), but grey for their yellow, which is lost on white and in a grey print.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A")
DASHES: Any = ((), (5, 2), (1, 1.5), (6, 2, 1, 2), (9, 3), (3, 1, 1, 1, 1, 1), (2, 4), (12, 2, 2, 2))  # ink, gap
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PANEL = (2.3, 1.9)  # inches
FORMATS = ("pdf", "png")
DPI = 200
ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}
LOOK: Any = {  # matplotlib's settings, under which everything is drawn
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text that stays text
}


def look(font: float = 8, *, paper: bool = False) -> Any:
    """matplotlib's settings for type of so many points; for a paper, of the kind of its text, as far as Times is."""
    family = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"} if paper else {}
    scale = {"lines.linewidth": 1.1 * font / 8, "lines.markersize": 4.5 * font / 8}
    return LOOK | family | scale | {"font.size": font}


@dataclass(frozen=True)
class TaskRuns:
    """The runs of a task on a data set (see `frame.runs`) in the order of legends, and their images that are done
    (`frame.images`)."""

    task: str
    dataset: str
    runs: pd.DataFrame
    images: Images
    results_dir: Path
    ours: str | None = None  # a method

    @property
    def title(self) -> str:
        return f"{display_name('task', self.task)}, {display_name('dataset', self.dataset)}"

    @property
    def metrics(self) -> list[Protocol]:
        return metrics_of(self.images, self.runs)

    def name(self, method: str, settings: str = "") -> str:
        """A line's name in the legend."""
        return figure_text(f"{display_name('method', method)}{' (ours)' * (method == self.ours)} {settings}".strip())


def figure_text(text: str) -> str:
    """A name for a figure: no formula, and the Unicode number of each character that the font lacks."""
    font = get_font(findfont(FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else f"[U+{ord(c):04X}]" for c in text).replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn  # which matplotlib would leave out of a legend


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The style of each method: the first eight named ones always have their own, others what is left of eight, the
    first method's last, so that no colour comes twice before all are taken."""
    named, shown = [*NAMES["method"]], set(methods)
    known = [*named, *sorted(shown - set(named))]
    size = len(COLOURS)
    taken = {name: i for i, name in enumerate(named[:size]) if name in shown}
    for number, name in enumerate(known):
        if name in shown and name not in taken:
            places = [*(i % size for i in range(number, number + size) if i % size), 0]
            taken[name] = next(i for i in itertools.chain(places, itertools.count(size)) if i not in taken.values())
    return {name: style(taken[name]) for name in known if name in shown}


def line_styles(methods: Iterable[str]) -> list[dict[str, Any]]:
    """A style for each line, given its method by id, or by printed name, with a variant after a comma: the method's
    colour, with marks that no other line of this colour has."""
    ids = {shown: name for name, shown in NAMES["method"].items()}
    plain, looks = [method.partition(", ")[0] for method in methods], list[dict[str, Any]]()
    names = [ids.get(method, method) for method in plain]
    own, size = method_styles(names), len(DASHES)
    marks = [{"dash": DASHES[i % size], "marker": MARKERS[(i + i // size) % size]} for i in range(size * size)]
    for name in names:
        looks.append(
            next((one for one in (own[name], *(own[name] | mark for mark in marks)) if one not in looks), own[name])
        )
    return looks


def style(number: int) -> dict[str, Any]:
    """`colour`, `dash` and `marker` of the `number`-th style; past eight, colours come back with other marks."""
    again = (number + number // len(COLOURS)) % len(COLOURS)
    return {"colour": COLOURS[number % len(COLOURS)], "dash": DASHES[again], "marker": MARKERS[again]}


def panels(labels: Sequence[str], title: str = "", width: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each label of a vertical axis, row by row, `width` inches wide."""
    most = max(1, round((width or 3 * PANEL[0]) / PANEL[0]))
    across = min(most, len(labels))
    width = width or max(across, 2) * PANEL[0]
    down, high = -(-len(labels) // across), min(PANEL[1], 0.72 * width / across)
    figure = Figure(figsize=(width, down * high + 0.3 + 0.4 * bool(title)), layout="constrained")
    axes = [figure.add_subplot(down, across, i + 1, ylabel=label) for i, label in enumerate(labels)]
    figure.align_ylabels(axes)
    if title:
        figure.suptitle(figure_text(title), fontsize=rcParams["font.size"] + 1, fontweight="bold")
    return figure, axes


def label_lowest(axes: Sequence[Axes], label: str) -> None:
    """Write the label of the horizontal axis under the panels that have none below."""
    for panel in axes:
        if (place := panel.get_subplotspec()) is not None:
            columns = place.get_gridspec().ncols
            if place.num1 + columns >= len(axes):
                panel.set_xlabel(label)


def add_legend(figure: Figure) -> None:
    """Add one legend, each name once: in the place of an absent last panel where it fits, else under all panels."""
    marks = {
        label: mark for panel in figure.axes for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    size = rcParams["font.size"] - 1
    width, height = (0.35 + 0.07 * max(map(len, marks))) * size / 7, 0.16 * size / 7
    place = figure.axes[-1].get_subplotspec()
    grid = place.get_gridspec() if place is not None else None
    if grid is not None and len(figure.axes) < grid.nrows * grid.ncols:
        room = figure.get_figwidth() / grid.ncols, figure.get_figheight() / grid.nrows
        if width < room[0] and height * len(marks) < room[1]:
            free = figure.add_subplot(grid[-1])
            free.axis("off")
            free.legend(marks.values(), marks.keys(), loc="center", frameon=False, fontsize=size)
            return
    columns = max(1, min(4, int(figure.get_figwidth() / width)))
    rows = -(-len(marks) // columns)
    figure.set_figheight(figure.get_figheight() + height * rows)  # its rows take no panel's room
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=size)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS) -> Path:
    """Write `name` in these formats, each whole or not at all; the same figure gives the same bytes. Returns the path
    of the last. Raises UserError where they cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for all
        for suffix in formats:
            file = io.BytesIO()
            with rc_context({"svg.hashsalt": name}):
                metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[suffix]
                figure.savefig(file, format=suffix, dpi=DPI, metadata=metadata)
            replace(folder / f"{name}.{suffix}", file.getvalue())
    return folder / f"{name}.{formats[-1]}"

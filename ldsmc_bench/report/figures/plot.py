"""Shared by all figures: the runs of a task, styles, panels, and the files.

Colours are told apart by colour-blind eyes, dashes and markers in a grey print.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
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
ACROSS = 3
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


@dataclass(frozen=True)
class TaskRuns:
    """The runs of a task on a data set (see `frame.runs`), and their images that are done (`frame.images`)."""

    task: str
    dataset: str
    runs: pd.DataFrame
    images: Images
    results_dir: Path

    @property
    def title(self) -> str:
        return f"{display_name('task', self.task)}, {display_name('dataset', self.dataset)}"

    @property
    def metrics(self) -> list[Protocol]:
        return metrics_of(self.images, self.runs)


def figure_text(text: str) -> str:
    """A name for a figure: no formula, and the Unicode number of each character that the font lacks."""
    font = get_font(findfont(FontProperties()))
    drawn = "".join(c if font.get_char_index(ord(c)) else f"[U+{ord(c):04X}]" for c in text).replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn  # which matplotlib would leave out of a legend


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The style of each method: always the same for named ones, for others in the order of their names."""
    strangers = sorted(set(methods) - set(NAMES["method"]))
    return {method: style(i) for i, method in enumerate([*NAMES["method"], *strangers])}


def style(number: int) -> dict[str, Any]:
    """`colour`, `dash` and `marker` of the `number`-th style; past eight, colours come back with other marks."""
    again = (number + number // len(COLOURS)) % len(COLOURS)
    return {"colour": COLOURS[number % len(COLOURS)], "dash": DASHES[again], "marker": MARKERS[again]}


def draw_points(panel: Axes, points: pd.DataFrame, look: dict[str, Any], **marks: Any) -> None:
    """Draw `mean` at each place of the index, with bars from `low` to `high` where they are known."""
    mean = points["mean"]
    bars = [(mean - points["low"]).fillna(0), (points["high"] - mean).fillna(0)]
    marks = {"color": look["colour"], "marker": look["marker"], "elinewidth": 0.8} | marks
    panel.errorbar(points.index.to_numpy(dtype=float), mean, yerr=bars, **marks)


def metric_panels(metrics: Iterable[Protocol], title: str) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each metric, row by row; arrows point to where better is."""
    return panels([f"{m.label}{' [dB]' * (m.unit == 'dB')} {ARROWS[m.better]}" for m in metrics], title)


def panels(labels: Sequence[str], title: str) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each label of a vertical axis."""
    across = min(ACROSS, len(labels))
    down = -(-len(labels) // across)
    figure = Figure(figsize=(max(across, 2) * PANEL[0], down * PANEL[1] + 0.7), layout="constrained")
    axes = [figure.add_subplot(down, across, i + 1, ylabel=label) for i, label in enumerate(labels)]
    figure.align_ylabels(axes)
    figure.suptitle(figure_text(title), fontsize=9, fontweight="bold")
    return figure, axes


def add_legend(figure: Figure) -> None:
    """Add one legend under all panels, each name once."""
    marks = {
        label: mark for panel in figure.axes for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    columns = max(1, min(4, int(figure.get_figwidth() / (0.35 + 0.07 * max(map(len, marks))))))
    rows = -(-len(marks) // columns)
    figure.set_figheight(figure.get_figheight() + 0.16 * (rows - 1))  # its rows take no panel's room
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=7)


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write `name`.pdf and `name`.png, each whole or not at all; the same figure gives the same bytes. Returns the path
    of the PNG. Raises UserError where they cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both
        for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            file = io.BytesIO()
            figure.savefig(file, format=suffix, dpi=200, metadata=metadata)
            replace(folder / f"{name}.{suffix}", file.getvalue())
    return folder / f"{name}.png"

"""How figures look and are written: colours that colour-blind eyes tell apart, dashes and markers for a grey print."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldsmc_bench.records.publish import replace, writing
from ldsmc_bench.report.names import METHODS
from ldsmc_bench.scoring.protocols import Protocol

# Okabe & Ito, "Color Universal Design" (2008), but grey for their yellow, which is lost on white and in a grey print.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A")
DASHES: tuple[tuple[float, ...], ...]
DASHES = ((), (5, 2), (1, 1.5), (6, 2, 1, 2), (9, 3), (3, 1, 1, 1, 1, 1), (2, 4), (12, 2, 2, 2))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FILLS = ("full", "none", "left", "top", "bottom", "right")  # of the markers, for several lines of one method
PANEL = (2.3, 1.9)  # inches
ACROSS = 3
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


class Style(TypedDict):
    """`dash` is of lengths of ink and gap, empty for a whole line; `marker` is matplotlib's."""

    colour: str
    dash: tuple[float, ...]
    marker: str


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """The style of each method: always the same for those of this project, for others in the order of their names."""
    strangers = sorted(set(methods) - set(METHODS))
    return {method: style(i) for i, method in enumerate([*METHODS, *strangers])}


def style(number: int) -> Style:
    """The `number`-th style; past eight, colours come back with other marks."""
    again = number + number // len(COLOURS)
    return Style(
        colour=COLOURS[number % len(COLOURS)], dash=DASHES[again % len(DASHES)], marker=MARKERS[again % len(MARKERS)]
    )


def grid(metrics: Sequence[Protocol], title: str, across: int = ACROSS) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each metric, row by row; arrows say where better is."""
    arrow = {"higher": "↑", "lower": "↓", "one": "→ 1"}
    labels = [f"{m.label}{f' [{m.unit}]' if m.unit == 'dB' else ''} {arrow[m.better]}" for m in metrics]
    return plain_grid(labels, title, across)


def plain_grid(labels: Sequence[str], title: str, across: int = ACROSS) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each label of a vertical axis."""
    across = min(across, len(labels))
    down = -(-len(labels) // across)
    figure = Figure(figsize=(max(across, 2) * PANEL[0], down * PANEL[1] + 0.7), layout="constrained")
    panels = [figure.add_subplot(down, across, i + 1) for i in range(len(labels))]
    for panel, label in zip(panels, labels, strict=True):
        panel.set_ylabel(label)
    figure.align_ylabels(panels)
    figure.suptitle(title, fontsize=9, fontweight="bold")
    return figure, panels


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend under all panels, each name once."""
    found = {label: mark for panel in panels for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    columns = max(1, min(4, int(figure.get_figwidth() / (0.35 + 0.07 * max(map(len, found))))))
    figure.set_figheight(
        figure.get_figheight() + 0.16 * (-(-len(found) // columns) - 1)
    )  # its rows take no panel's room
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=7)


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

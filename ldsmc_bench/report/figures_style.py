"""How methods look: colours that colour-blind eyes tell apart, with dashes and markers that survive a grey print."""

from collections.abc import Iterable
from typing import TypedDict

from ldsmc_bench.report.names import METHODS

# Okabe & Ito, "Color Universal Design" (2008). Black first, yellow, hard to see on white, last.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 2),
    (1, 1.5),
    (6, 2, 1, 2),
    (9, 3),
    (3, 1, 1, 1, 1, 1),
    (2, 4),
    (12, 2, 2, 2),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


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

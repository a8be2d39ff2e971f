"""Inpainting masks, drawn one image at a time: (side, side) boolean arrays, True = observed.

Lengths are in pixels of a 256-pixel side, as in the papers, and scale with the side. A number that cannot work raises
UserError.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ldsmc_bench.errors import UserError

REFERENCE_SIDE = 256  # pixels: the side that all published sizes are meant for

BoolArray = NDArray[np.bool_]
Range = tuple[int, int]  # [low, high) as in NumPy


def box(rng: np.random.Generator, side: int, *, size: float, margin: float) -> BoolArray:
    """A square hole of `size`, anywhere at least `margin` from the border.

    DPS, PSLD, ReSample and LD-SMC: size 128, margin 16, so that the top left corner lies in 16..111 (the upper end is
    exclusive).
    """
    for key, value in (("size", size), ("margin", margin)):
        require(key, value, "a number of at least 0", lambda number: number >= 0)
    hole, border = round(size * side / REFERENCE_SIDE), round(margin * side / REFERENCE_SIDE)
    if not (hole > 0 and hole + 2 * border < side):
        why = f"{hole} pixels with a margin of {border} do not fit an image of {side}"
        raise unusable("size", size, f"a hole that fits: {why}")
    top, left = rng.integers(border, side - border - hole, size=2)
    mask = np.ones((side, side), dtype=bool)
    mask[top : top + hole, left : left + hole] = False
    return mask


def random(rng: np.random.Generator, side: int, *, missing: float) -> BoolArray:
    """int(side^2 * missing) missing pixels, drawn without replacement (ReSample: 70 %)."""
    require("missing", missing, "a fraction from 0 to less than 1", lambda number: 0 <= number < 1)
    mask = np.ones(side * side, dtype=bool)
    mask[rng.choice(side * side, int(side * side * missing), replace=False)] = False
    return mask.reshape(side, side)


def half(rng: np.random.Generator, side: int, *, known: str) -> BoolArray:
    """One half is observed: the `known` one of left, right, top and bottom (of an odd side, less than half)."""
    sides = ("left", "right", "top", "bottom")
    require("known", known, " or ".join(sides), lambda name: name in sides)
    first = np.arange(side) < side // 2
    return _across(first if known in ("left", "top") else first[::-1], vertical=known in ("left", "right"))


def destripe(
    rng: np.random.Generator, side: int, *, orientation: str, period: float, width: float, phase: float | str
) -> BoolArray:
    """Columns (or rows) are missing, the first `width` of every `period`, moved back by a share `phase` of the period,
    or by a random number of lines ("random"). On any side at least one line of a period is missing."""
    vertical, share = _is_vertical(orientation), "a share of the period, from 0 to less than 1, or random"
    require("period", period, f"above 0 and at most {REFERENCE_SIDE}", lambda n: 0 < n <= REFERENCE_SIDE)
    require("width", width, f"above 0 and below period={period}", lambda n: 0 < n < period)
    require("phase", phase, share, lambda n: n == "random" or 0 <= n < 1)
    lines, missing = (max(least, round(n * side / REFERENCE_SIDE)) for least, n in ((2, period), (1, width)))
    if missing >= lines:
        raise unusable(
            "width", width, f"smaller: {missing} of every {lines} lines would be missing on a side of {side}"
        )
    offset = round((rng.integers(lines) / lines if phase == "random" else float(phase)) * lines)
    return _across((np.arange(side) + offset) % lines >= missing, vertical=vertical)


def destripe_random(rng: np.random.Generator, side: int, *, orientation: str, width: Range, gap: Range) -> BoolArray:
    """Missing columns (or rows) of random `width` and distance, both whole pixels of the 256-pixel side, [low, high).

    They are drawn from the left (or top), a gap first; a line of the image is missing where its middle is.
    """
    vertical = _is_vertical(orientation)
    for key, value in (("width", width), ("gap", gap)):
        _require_range(key, value)
        whole = "whole numbers of at least 1"
        require(key, value, whole, lambda ends: all(isinstance(end, int) and end >= 1 for end in ends))
    missing = np.zeros(REFERENCE_SIDE, dtype=bool)
    start = int(rng.integers(*gap))
    while start < REFERENCE_SIDE:
        end = start + int(rng.integers(*width))
        missing[start:end] = True
        start = end + int(rng.integers(*gap))
    middles = (np.arange(side) + 0.5) * REFERENCE_SIDE / side
    return _across(~missing[middles.astype(int)], vertical=vertical)


def freeform(
    rng: np.random.Generator,
    side: int,
    *,
    strokes: Range,
    segments: Range,
    length: Range,
    width: Range,
    covered: tuple[float, float],
) -> BoolArray:
    """Brush strokes that wander in random directions: the irregular masks of Palette.

    The ranges are the number of `strokes`, of `segments` in a stroke, the `length` and the `width` of a segment.
    Masks whose covered fraction is not strictly within `covered` are drawn again. The walk is in whole pixels of
    the 256-pixel side whatever the side drawn on, so that a small mask looks like a large one reduced. Palette draws
    with OpenCV and we with Pillow: masks agree in distribution, not pixel by pixel.
    """
    ranges = {"strokes": strokes, "segments": segments, "length": length, "width": width}
    for key, value in (ranges | {"covered": covered}).items():
        _require_range(key, value)
    for _ in range(1000):
        hole = _draw_strokes(rng, side, **ranges)
        if covered[0] < hole.mean() < covered[1]:
            return ~hole
    raise unusable("covered", covered, "wider: no mask of 1000 covers such a fraction of the image")


def _draw_strokes(
    rng: np.random.Generator, side: int, *, strokes: Range, segments: Range, length: Range, width: Range
) -> BoolArray:
    picture = Image.new("1", (side, side))
    draw = ImageDraw.Draw(picture)
    scale = side / REFERENCE_SIDE
    for stroke in range(rng.integers(*strokes)):
        x, y = (int(start) for start in rng.integers(0, REFERENCE_SIDE, size=2))
        count = rng.integers(*segments)
        angles = 0.01 + rng.integers(0, 64, size=count)  # whole radians over ten turns: as good as any direction
        lengths = rng.integers(*length, size=count)
        widths = rng.integers(*width, size=count)
        if stroke % 2 == 0:
            angles = 2 * math.pi - angles
        for angle, step, brush in zip(angles, lengths, widths, strict=True):
            end_x, end_y = int(x + step * math.sin(angle)), int(y + step * math.cos(angle))
            _draw_segment(draw, [scale * v for v in (x, y, end_x, end_y)], scale * float(brush))
            x, y = end_x, end_y
    return np.array(picture)


def _draw_segment(draw: ImageDraw.ImageDraw, ends: Sequence[float], width: float) -> None:
    """A thick line with round ends, as OpenCV draws them."""
    draw.line(list(ends), fill=1, width=max(1, round(width)))
    for x, y in (ends[:2], ends[2:]):
        draw.circle((x, y), (width - 1) / 2, fill=1)  # Pillow counts the middle pixel besides


def _across(line: BoolArray, *, vertical: bool) -> BoolArray:
    """The same `line` (side,) in every row (columns are missing) or in every column."""
    square = np.tile(line, (len(line), 1))
    return square if vertical else square.T


def _is_vertical(orientation: str) -> bool:
    require("orientation", orientation, "vertical or horizontal", lambda name: name in ("vertical", "horizontal"))
    return orientation == "vertical"


def _require_range(key: str, value: Sequence[float]) -> None:
    rising = "a range [low, high) with 0 <= low < high"
    require(key, value, rising, lambda ends: len(ends) == 2 and 0 <= ends[0] < ends[1])


def require(key: str, value: Any, remedy: str, fits: Callable[[Any], bool]) -> None:
    """Raise UserError unless the value of a task's key fits; one of another type does not."""
    try:
        if fits(value):
            return
    except (TypeError, LookupError):
        pass
    raise unusable(key, value, remedy)


def unusable(key: str, value: object, remedy: str) -> UserError:
    return UserError(f"task.operator.{key}={value}: must be {remedy}")

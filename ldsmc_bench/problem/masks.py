"""Inpainting masks, drawn one image at a time: (side, side) boolean arrays, True = observed.

Lengths are in pixels of a 256-pixel side, as in the papers, and scale with the side.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

REFERENCE_SIDE = 256  # pixels: the side that all published sizes are meant for

BoolArray = NDArray[np.bool_]


def box(rng: np.random.Generator, side: int, *, size: float, margin: float) -> BoolArray:
    """A square hole of `size`, anywhere at least `margin` from the border.

    DPS, PSLD, ReSample and LD-SMC: size 128, margin 16, so that the top left corner lies in 16..111 (the upper end is
    exclusive). Raises ValueError where the hole is empty or does not fit.
    """
    hole, border = round(size * side / REFERENCE_SIDE), round(margin * side / REFERENCE_SIDE)
    if not (hole > 0 and border >= 0 and hole + 2 * border < side):
        raise ValueError(f"{hole} pixels with a margin of {border} do not fit an image of {side}")
    top, left = rng.integers(border, side - border - hole, size=2)
    mask = np.ones((side, side), dtype=bool)
    mask[top : top + hole, left : left + hole] = False
    return mask


def random(rng: np.random.Generator, side: int, *, missing: float) -> BoolArray:
    """int(side^2 * missing) missing pixels, drawn without replacement (ReSample: 70 %)."""
    mask = np.ones(side * side, dtype=bool)
    mask[rng.choice(side * side, int(side * side * missing), replace=False)] = False
    return mask.reshape(side, side)


def free_form(
    rng: np.random.Generator,
    side: int,
    *,
    strokes: tuple[int, int],
    segments: tuple[int, int],
    length: tuple[int, int],
    width: tuple[int, int],
    covered: tuple[float, float],
) -> BoolArray:
    """Brush strokes that wander in random directions: the irregular masks of Palette.

    Ranges are [low, high) as in NumPy: the number of strokes, of segments in a stroke, the length and the width of a
    segment. Masks whose covered fraction is not strictly within `covered` are drawn again. The walk is in whole
    pixels of the 256-pixel side whatever the side drawn on, so that a small mask looks like a large one reduced.
    Palette draws with OpenCV and we with Pillow, so masks agree in distribution, not pixel by pixel. Raises
    ValueError when no mask falls within `covered`.
    """
    for _ in range(1000):
        hole = _draw_strokes(rng, side, strokes, segments, length, width)
        if covered[0] < hole.mean() < covered[1]:
            return ~hole
    raise ValueError(f"no mask of 1000 covers between {covered[0]} and {covered[1]} of the image")


def half(side: int, *, known: str) -> BoolArray:
    """One half is observed: the `known` one of left, right, top and bottom (of an odd side, less than half)."""
    first = np.arange(side) < side // 2
    line = first if known in ("left", "top") else first[::-1]
    return _across(line, vertical=known in ("left", "right"))


def bands(side: int, *, vertical: bool, period: float, width: float, phase: float) -> BoolArray:
    """Columns (or rows) are missing, the first `width` of every `period`, moved back by `phase` periods, 0 to 1.

    On any side at least one line of a period is missing. Raises ValueError where none is left.
    """
    lines, missing = stripe_lines(side, period=period, width=width)
    offset = round(phase * lines)
    return _across((np.arange(side) + offset) % lines >= missing, vertical=vertical)


def stripe_lines(side: int, *, period: float, width: float) -> tuple[int, int]:
    """The period of `bands` in whole lines of this side, at least 2, and how many of them are missing, at least 1.

    Raises ValueError where all are.
    """
    lines, missing = (max(least, round(n * side / REFERENCE_SIDE)) for least, n in ((2, period), (1, width)))
    if missing >= lines:
        raise ValueError(f"{missing} of every {lines} lines would be missing on a side of {side}")
    return lines, missing


def stripes(
    rng: np.random.Generator, side: int, *, vertical: bool, width: tuple[int, int], gap: tuple[int, int]
) -> BoolArray:
    """Missing columns (or rows) of random `width` and distance, both whole pixels of the 256-pixel side, [low, high).

    They are drawn from the left (or top), a gap first; a line of the image is missing where its middle is.
    """
    missing = np.zeros(REFERENCE_SIDE, dtype=bool)
    start = int(rng.integers(*gap))
    while start < REFERENCE_SIDE:
        end = start + int(rng.integers(*width))
        missing[start:end] = True
        start = end + int(rng.integers(*gap))
    middles = (np.arange(side) + 0.5) * REFERENCE_SIDE / side
    return _across(~missing[middles.astype(int)], vertical=vertical)


def _across(line: BoolArray, *, vertical: bool) -> BoolArray:
    """The same `line` (side,) in every row (what is missing are columns) or in every column."""
    square = np.tile(line, (len(line), 1))
    return square if vertical else square.T


def _draw_strokes(
    rng: np.random.Generator,
    side: int,
    strokes: tuple[int, int],
    segments: tuple[int, int],
    length: tuple[int, int],
    width: tuple[int, int],
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

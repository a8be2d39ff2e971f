"""A pen that draws filled curves in head coordinates, and its colours.

Head coordinates: origin in the middle of the head, x to the right, y down, unit one pixel of the final 64x64 image.
"""

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

SIZE = 64
OVERSAMPLING = 4
HEAD_X, HEAD_Y = 32.0, 31.0  # where the middle of an unshifted head lies
NECK_Y = 20.0  # the head leans about this point of the neck

Colour = tuple[int, ...]  # red, green, blue of 255
Points = np.ndarray  # (n, 2)
Outline = list[tuple[float, float]]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with a `share` in [0,1] of `second` stirred in."""
    return tuple(round(a + share * (b - a)) for a, b in zip(first, second, strict=True))


def hsl(hue: float, saturation: float, lightness: float) -> Colour:
    """8-bit colour of a hue, taken modulo 1, and of saturation and lightness in [0,1]."""
    return tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue % 1.0, lightness, saturation))


def lighter(colour: Colour, share: float) -> Colour:
    return mix(colour, (255, 250, 240), share)


def darker(colour: Colour, share: float) -> Colour:
    return mix(colour, (30, 18, 28), share)


def arc(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, n: int = 40) -> Points:
    """Points of an ellipse from angle `start` to `stop` (degrees; 0 is right, 90 is down)."""
    angle = np.radians(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def superellipse(power: float | np.ndarray, n: int) -> Points:
    """n points of |x|^(1/power) + |y|^(1/power) = 1; `power` is one for all or one for each point."""
    angle = np.linspace(0, 2 * np.pi, n + 1)[:-1]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power], axis=1)


def spline(points: Outline, closed: bool = False, n: int = 8) -> Points:
    """A Catmull-Rom curve through the points, `n` steps between neighbours."""
    p = np.asarray(points, dtype=float)
    if closed:
        a, b, c, d = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
        a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = (np.arange(n) / n)[None, :, None]
    a, b, c, d = (v[:, None, :] for v in (a, b, c, d))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def mirror(points: Outline) -> Outline:
    """The points, followed by their mirror images in reverse order: a symmetric outline."""
    return points + [(-x, y) for x, y in reversed(points) if x != 0]


def on_side(side: int, points: Outline) -> Outline:
    """The points of the right half, or of the left one for a `side` of -1."""
    return [(side * x, y) for x, y in points]


@dataclass(frozen=True)
class Pen:
    """A pen on the large canvas: it slides features by the yaw, leans by the tilt, scales and shifts."""

    on: ImageDraw.ImageDraw
    scale: float
    x: float
    y: float
    tilt: float = 0.0
    slide: float = 0.0  # pixels by which the middle of the face slides; the outline of the head stays
    reach: float = 20.0  # half the width of the head

    def place(self, points: Points) -> Outline:
        """Head coordinates to pixels of the large canvas."""
        x, y = points[:, 0], points[:, 1] - NECK_Y
        x = x + self.slide * np.maximum(0.0, 1 - (x / self.reach) ** 2)
        c, s = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        px = (self.x + self.scale * (c * x - s * y)) * OVERSAMPLING
        py = (self.y + self.scale * (s * x + c * y + NECK_Y)) * OVERSAMPLING
        return list(zip(px.tolist(), py.tolist(), strict=True))

    def fill(self, points: Points, colour: Colour) -> None:
        self.on.polygon(self.place(points), fill=colour)

    def blob(self, outline: Outline, colour: Colour) -> None:
        """The inside of a smooth curve through these points."""
        self.fill(spline(outline, closed=True), colour)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, colour: Colour) -> None:
        self.fill(arc(cx, cy, rx, ry, n=32), colour)

    def stroke(self, points: Points, width: float, colour: Colour, closed: bool = False) -> None:
        """A line of `width` pixels with round ends."""
        placed = self.place(points)
        thick = width * self.scale * OVERSAMPLING
        self.on.line(placed + placed[:2] if closed else placed, fill=colour, width=round(thick), joint="curve")
        for x, y in () if closed else (placed[0], placed[-1]):
            r = thick / 2
            self.on.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def curve(self, outline: Outline, width: float, colour: Colour) -> None:
        """A smooth line of `width` pixels through these points."""
        self.stroke(spline(outline), width, colour)

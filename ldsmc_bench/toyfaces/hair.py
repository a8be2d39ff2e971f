"""Hair behind the head and on it, and beards."""

import numpy as np

from ldsmc_bench.toyfaces.attributes import COVERING_HATS, Face
from ldsmc_bench.toyfaces.canvas import Colour, Outline, Pen, Points, arc, darker, lighter, mirror, mix, on_side, spline

_COLOURS: dict[str, Colour] = {
    "black": (48, 40, 46),
    "brown": (98, 66, 48),
    "auburn": (140, 62, 48),
    "ginger": (208, 112, 52),
    "blond": (230, 190, 112),
    "grey": (186, 184, 188),
    "teal": (64, 148, 152),
    "pink": (224, 124, 156),
}


def hair_colour(face: Face) -> Colour:
    """The colour of the hair, with its own tone."""
    base = _COLOURS[face.hair_colour]
    return lighter(base, 0.16 * face.hair_tone) if face.hair_tone > 0 else darker(base, -0.16 * face.hair_tone)


def behind(pen: Pen, face: Face) -> None:
    """Hair behind head and shoulders."""
    colour = darker(hair_colour(face), 0.14)
    covered = face.hat in COVERING_HATS
    w, v = face.head_width / 2, face.hair_volume
    top = -face.head_height / 2 + (3.0 if covered else 0.0)  # a hat presses the hair down
    style = face.hair_style
    if style == "bob":
        out, low = w + 3.5 + 2 * v, 13 + 5 * v
        half = [(0, top - 2.5), (w * 0.7, top + 1), (out - 0.5, -4), (out, low - 4), (out - 3, low), (6, low)]
        pen.blob(mirror(half), colour)
    elif style == "long":
        out = w + 2.5 + 2.5 * v
        half = [(0, top - 2.5), (w * 0.7, top + 1), (out - 1, -4), (out, 14), (out + 1.5, 30), (10, 38)]
        pen.blob(mirror(half), colour)
    elif style == "curly":
        _curls(pen, face, colour, covered)
    elif style == "bun":
        pen.ellipse(0, top - 0.8, 7.0 + v, 5.2 + 0.6 * v, colour)
    elif style == "ponytail":
        tail = [(w - 6, -10.0), (w + 2, -9), (w + 7, 0), (w + 6.5 + v, 14), (w + 2, 24 + 4 * v)]
        pen.blob(on_side(face.part_side, [*tail, (w - 1, 18.0), (w - 2, 4)]), colour)


def _curls(pen: Pen, face: Face, colour: Colour, covered: bool) -> None:
    w, v = face.head_width / 2, face.hair_volume
    rx, ry, cy = w + 2.0 + 1.4 * v, face.head_height / 2 - 1.5 + v, -2.0
    if covered:  # only the sides puff out below the hat
        for side in (-1, 1):
            for x, y in ((w + 0.5, -3.0), (w + 1.5 + v, 3.5), (w + 0.5, 10)):
                pen.ellipse(side * x, y, 5.0 + v, 5.0 + v, colour)
        return
    pen.ellipse(0, cy, rx, ry, colour)
    for x, y in arc(0, cy, rx, ry, -205, 25, 13):
        pen.ellipse(x, y, 4.6 + 0.8 * v, 4.6 + 0.8 * v, colour)


def shadow(pen: Pen, face: Face, skin: Colour) -> None:
    """The shadow of the front hair on the forehead; strictly inside the head, so it never falls on the background."""
    if face.hair_style == "bald":
        return
    w = face.head_width / 2
    line = spline(_hairline(face)[0])
    low = line + np.array([[0.0, 1.8]]) * np.maximum(0.0, 1 - (line[:, :1] / (w - 1.5)) ** 2)
    pen.fill(np.concatenate([low, [(8.0 - w, -14.0), (w - 8, -14.0)]]), mix(skin, darker(skin, 0.5), 0.35))


def in_front(pen: Pen, face: Face) -> None:
    """Hair on the forehead and the crown, with one band of sheen."""
    if face.hair_style == "bald":
        return
    colour = hair_colour(face)
    w, v, s = face.head_width / 2, face.hair_volume, face.part_side
    hairline, side = _hairline(face)
    line = spline(hairline)
    rise = {"quiff": 3.0, "curly": 2.5, "bob": 2.5, "long": 2.5}.get(face.hair_style, 1.6) + 1.2 * v
    crown = face.head_height / 2 + (0.0 if face.hat in COVERING_HATS else rise)
    beyond = np.degrees(np.arcsin(side / crown))
    dome = arc(0, 0, w + 1.0, crown, 180 - beyond, 360 + beyond)  # from temple to temple
    pen.fill(np.concatenate([dome, line]), colour)
    if face.hair_style == "quiff":
        swell = [(4 - w, -14.0), (5 - w, -22), (-4, -25 - 1.5 * v), (9, -26 - 2 * v), (w - 2, -22), (w - 5, -14)]
        pen.blob(on_side(s, [*swell, (0, -13)]), lighter(colour, 0.07))
    if face.hair_style == "curly" and face.hat not in COVERING_HATS:
        for x in np.linspace(-w + 4.5, w - 4.5, 6):
            pen.ellipse(x, -13.5 - 2.5 * (1 - (x / w) ** 2), 4.4, 4.2, colour)
    if face.hair_style in ("long", "bob"):
        _locks(pen, face, colour)
    if face.hat not in COVERING_HATS and face.hair_style != "curly":
        sheen = arc(0, side, w * 0.74, crown * 0.88 + side, 270 - s * 12, 270 + s * 38, 12)
        pen.stroke(sheen, 2.0, lighter(colour, 0.2))


def _hairline(face: Face) -> tuple[Outline, float]:
    """The lower edge of the hair from the right temple to the left one, and how far down the temples it reaches."""
    w, s = face.head_width / 2, face.part_side
    style = face.hair_style
    if style == "fringe" or (style == "bob" and face.hair_volume > 0.5):
        return mirror([(w - 1.2, 1.0), (w - 3.2, -4.0), (w - 5, -7.0), (0, -7.6)]), 1.0
    if style in ("side_part", "bob", "ponytail"):
        swoop = [(w - 1.5, 1.0), (w - 3.0, -5.0), (8.0, -9.5), (-3.0, -13.5), (-8.0, -16.0)]
        swoop += [(-12.5, -11.5), (1.8 - w, -3.0), (1.0 - w, 1.0)]
        return (swoop if s > 0 else on_side(-1, swoop[::-1])), 1.0
    if style == "long":
        return mirror([(w - 1.0, 4.0), (w - 3.5, -4.0), (9.0, -11.0), (0, -17.0)]), 4.0
    if style == "quiff":
        return mirror([(w - 0.8, -1.0), (w - 3.0, -7.0), (w - 6.5, -12.5), (0, -13.5)]), -1.0
    if style == "bun":
        return mirror([(w - 0.8, 1.0), (w - 3.0, -6.0), (9.0, -12.5), (0, -14.0)]), 1.0
    return mirror([(w - 0.8, 1.0), (w - 2.6, -5.0), (w - 6.0, -11.0), (0, -12.0)]), 1.0


def _locks(pen: Pen, face: Face, colour: Colour) -> None:
    """Strands that fall in front of the ears."""
    w, v = face.head_width / 2, face.hair_volume
    long = face.hair_style == "long"
    low = 27 + 10 * v if long else 12 + 5 * v
    out = w + (3.0 if long else 3.5) + 2 * v
    for side in (-1, 1):
        lock = [(w - 3.0, -8.0), (w + 1, -9), (out, 1), (out + 0.3, low - 5), (out - 3, low)]
        pen.blob(on_side(side, [*lock, (w - 1.0, low - 5), (w - 0.8, 3.0)]), colour)


def beard(pen: Pen, face: Face, skin: Colour, outline: Points) -> None:
    """Beards under nose and mouth; `outline` is the head's. Stubble is a tone of the skin, not a texture."""
    if face.beard == "none":
        return
    colour = darker(hair_colour(face), 0.1)
    if face.beard in ("stubble", "full"):
        grow = 1.05 if face.beard == "full" else 1.0
        jaw = outline[outline[:, 1] > 3.0] * np.array([[grow, grow]])
        jaw = jaw[np.argsort(-jaw[:, 0])]
        right, left = jaw[0, 0], jaw[-1, 0]
        lip = [(-8.5, 10.8), (-3.5, 9.4), (0, 9.9), (3.5, 9.4), (8.5, 10.8)]
        cheek = spline([(left + 2.6, 3.0), (left + 4.5, 8.0), *lip, (right - 4.5, 8.0), (right - 2.6, 3.0)])
        tone = colour if face.beard == "full" else mix(skin, mix(colour, (70, 66, 74), 0.4), 0.3)
        pen.fill(np.concatenate([jaw, cheek]), tone)
    if face.beard == "goatee":
        pen.blob(mirror([(0, 16.5), (4.5, 16.8), (5.2, 20), (3, 23.0), (0, 24.0)]), colour)
    if face.beard in ("moustache", "goatee"):
        pen.blob(mirror([(0, 9.6), (3.0, 9.0), (7.0, 11.0), (8.2, 13.2), (4.5, 12.6), (0, 12.2)]), colour)

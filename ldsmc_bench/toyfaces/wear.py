"""Clothes, glasses, hats and earrings."""

import numpy as np

from ldsmc_bench.toyfaces import canvas
from ldsmc_bench.toyfaces.attributes import Face
from ldsmc_bench.toyfaces.canvas import Colour, Pen, arc, darker, hsl, lighter, mirror, mix, on_side, spline


def clothes(pen: Pen, face: Face, skin: Colour) -> None:
    """Neck, shoulders and one of four collars."""
    cloth = hsl(face.clothes_hue, 0.42, 0.34 + 0.34 * face.clothes_light)
    if face.collar == "hoodie":
        pen.blob(mirror([(0, 14.0), (12, 15), (17, 21), (16, 28), (0, 32)]), darker(cloth, 0.22))
    neck = mix(skin, darker(skin, 0.5), 0.4)
    pen.fill(np.array([(-7.5, 12.0), (7.5, 12.0), (8.0, 27.0), (0, 30.0), (-8.0, 27.0)]), neck)
    shoulders = [(0, 27.0), (7.5, 24.5), (10.0, 24.3), (19, 26.5), (26, 31), (31, 44), (20, 52)]
    pen.fill(np.concatenate([spline(shoulders), spline(shoulders)[::-1] * [-1, 1]]), cloth)
    if face.collar == "crew":
        pen.curve(mirror([(9.0, 24.6), (5.5, 27.2), (0, 28.2)]), 2.2, darker(cloth, 0.25))
    elif face.collar == "v_neck":
        pen.fill(np.array([(-7.6, 24.2), (0, 33.5), (7.6, 24.2), (0, 20.0)]), neck)
        pen.stroke(np.array([(-8.2, 24.6), (0, 34.0), (8.2, 24.6)]), 1.8, lighter(cloth, 0.35))
    elif face.collar == "shirt":
        for side in (-1, 1):
            flap = on_side(side, [(8.6, 22.6), (12.0, 26.5), (6.5, 32.5), (0, 27.6)])
            pen.fill(np.array(flap), lighter(cloth, 0.6))
    else:
        pen.curve(mirror([(10.5, 23.5), (7.5, 28.0), (0, 30.5)]), 3.4, lighter(cloth, 0.14))


def lens(face: Face, side: int) -> np.ndarray:
    """The outline of one lens."""
    x = side * (face.eye_spacing + 0.2)
    if face.glasses == "round":
        return arc(x, 1.4, 6.1, 5.9, n=32)
    square, rx, ry = (2.6, 6.4, 5.4) if face.glasses == "sunglasses" else (3.4, 6.2, 4.9)
    return canvas.superellipse(2 / square, 32) * (rx, ry) + (x, 1.4)


def lenses(pen: Pen, face: Face, skin: Colour) -> None:
    """The glass itself, drawn under the eyes: a little lighter than the skin."""
    if face.glasses not in ("none", "sunglasses"):
        for side in (-1, 1):
            pen.fill(lens(face, side), lighter(skin, 0.16))


def _frame(face: Face) -> Colour:
    if face.glasses == "sunglasses":
        return mix((32, 34, 48), (74, 42, 46), face.glasses_tone)
    if face.skin > 0.55:  # on dark skin a frame shows when it is nearly black or gold
        return (36, 34, 46) if face.glasses_tone < 0.5 else (230, 200, 136)
    return mix((42, 44, 64), (116, 54, 46), face.glasses_tone)


def glasses(pen: Pen, face: Face) -> None:
    """Frames, drawn over the eyes; sunglasses are opaque."""
    if face.glasses == "none":
        return
    frame = _frame(face)
    reach, gap = face.head_width / 2, face.eye_spacing
    for side in (-1, 1):
        pen.stroke(np.array([(side * (gap + 5.8), 0.2), (side * (reach - 0.6), -0.8)]), 1.5, frame)
    pen.stroke(arc(0, 1.4, gap - 5.6, 2.2, 190, 350, 10), 1.5, frame)
    for side in (-1, 1):
        rim = lens(face, side)
        if face.glasses == "sunglasses":
            pen.fill(rim, frame)
            x = side * gap
            pen.fill(np.array([(x - 3.6, -2.4), (x - 0.4, -2.4), (x - 2.2, 3.4), (x - 4.4, 2.0)]), lighter(frame, 0.22))
        elif face.glasses == "half_rim":
            pen.stroke(np.roll(rim, -16, axis=0)[:17], 1.8, frame)
        else:
            pen.stroke(rim, 1.5, frame, closed=True)


def hat(pen: Pen, face: Face) -> None:
    """A cap, a beanie, a brimmed hat or a headband."""
    w, top, s = face.head_width / 2, -face.head_height / 2, face.part_side
    cloth = hsl(face.hat_hue, 0.46, 0.32 + 0.34 * face.hat_light)
    dome = spline(mirror([(w + 1.6, -8.5), (w + 0.8, -14.5), (w - 5.5, top - 1.0), (0, top - 3.6)]))
    edge = spline(mirror([(w + 1.6, -8.5), (w * 0.5, -11.0), (0, -11.6)]))
    if face.hat == "cap":
        pen.fill(np.concatenate([dome, edge[::-1]]), cloth)
        pen.ellipse(0, top - 3.4, 2.2, 1.3, darker(cloth, 0.25))
        visor = [(w - 1.5, -11.5), (w - 3.5, -7.0), (0, -5.2), (3.5 - w, -7.0), (1.5 - w, -11.5), (0, -13.2)]
        pen.blob(visor, darker(cloth, 0.3))
    elif face.hat == "beanie":
        pen.fill(np.concatenate([dome, edge[::-1]]), cloth)
        if face.hat_light > 0.5:
            pen.ellipse(0, top - 2.8, 3.8, 3.4, lighter(cloth, 0.4))
        band = [(w + 2.0, -7.4), (w + 1.6, -13.2), (w * 0.5, -15.8), (0, -16.4)]
        low = [(-w * 0.5, -9.8), (0.0, -10.2), (w * 0.5, -9.8)]
        pen.blob(mirror(band) + low, lighter(cloth, 0.22))
    elif face.hat == "brimmed":
        crown = mirror([(w - 2.0, -10.0), (w - 3.2, top + 1.0), (w - 8.0, top - 3.4), (0, top - 2.4)])
        pen.blob(crown, cloth)
        pen.blob([*mirror([(w - 1.6, -9.5), (w - 2.2, -14.5), (0, -15.8)]), (0, -10.5)], darker(cloth, 0.4))
        shade = mirror([(w + 7.0, -8.8), (w * 0.6, -12.4), (0, -13.0)])
        pen.blob([*shade, (-w * 0.6, -8.2), (0, -7.6), (w * 0.6, -8.2)], cloth)
    elif face.hat == "headband":
        upper = spline(mirror([(w + 1.6, -8.2), (w - 4.0, -14.6), (0, -17.4)]))
        lower = spline(mirror([(w + 1.4, -4.4), (w - 4.0, -10.6), (0, -13.2)]))
        pen.fill(np.concatenate([upper, lower[::-1]]), lighter(cloth, 0.12))
        if face.hat_light > 0.6:
            pen.ellipse(s * 12.5, -13.2, 3.2, 3.2, lighter(cloth, 0.5))


def earrings(pen: Pen, face: Face) -> None:
    """A pair of studs or drops below the ears."""
    if not face.earrings:
        return
    metal = mix((236, 190, 78), (214, 222, 232), face.earring_tone)
    x = face.head_width / 2 + 0.9
    y, rx, ry = (8.6, 1.8, 1.8) if face.earring_tone > 0.5 else (10.2, 1.7, 3.0)
    for side in (-1, 1):
        pen.ellipse(side * x, y, rx, ry, metal)

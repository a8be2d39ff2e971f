"""From attributes to pixels: a large flat drawing of the person, reduced, lit and laid over a background."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from ldsmc_bench.toyfaces import canvas, hair, wear
from ldsmc_bench.toyfaces.attributes import Face, attributes
from ldsmc_bench.toyfaces.canvas import OVERSAMPLING, SIZE, Colour, Pen, Points, arc, darker, hsl, mirror, mix, on_side

VERSION = 1
"""Raised whenever a face would look different: trained weights and statistics belong to one version."""

_SKINS = ((250, 222, 200), (240, 200, 168), (222, 172, 132), (190, 136, 98), (146, 98, 70), (104, 70, 54))
_IRISES = {"brown": (104, 66, 44), "blue": (74, 128, 182), "green": (86, 138, 88), "grey": (120, 130, 140)}
# Exponent of the jaw's superellipse, how much it narrows, width, height.
_SHAPES = {
    "round": (2.1, 0.02, 1.02, 0.96),
    "oval": (2.1, 0.12, 0.98, 1.0),
    "square": (2.9, 0.06, 1.0, 0.98),
    "heart": (2.0, 0.22, 1.02, 1.0),
    "long": (2.4, 0.1, 0.95, 1.04),
}
_X = (np.arange(SIZE) + 0.5)[None, :, None]
_Y = (np.arange(SIZE) + 0.5)[:, None, None]


def array(image_id: str) -> np.ndarray:
    """The face of an id as uint8 (64, 64, 3). Raises UserError for a bad id."""
    return paint(attributes(image_id))


def paint(face: Face) -> np.ndarray:
    """A face with these attributes as uint8 (64, 64, 3)."""
    person = np.asarray(_person(face).reduce(OVERSAMPLING), dtype=np.float64)
    cover = person[..., 3:] / 255
    lit = person[..., :3] * _light(face)
    return np.clip(np.round(cover * lit + (1 - cover) * _background(face)), 0, 255).astype(np.uint8)


def _person(face: Face) -> Image.Image:
    """The person on a transparent canvas, back to front."""
    picture = Image.new("RGBA", (SIZE * OVERSAMPLING, SIZE * OVERSAMPLING))
    x, y = canvas.HEAD_X + face.shift_x, canvas.HEAD_Y + face.shift_y
    on = ImageDraw.Draw(picture)
    body = Pen(on, face.scale, x, y)
    front = Pen(on, face.scale, x, y, tilt=face.tilt, slide=4.2 * face.yaw, reach=face.head_width / 2)
    still = replace(front, slide=0.0)  # for the outline of the head, and behind it
    place = face.skin * (len(_SKINS) - 1)
    step = min(int(place), len(_SKINS) - 2)
    skin = mix(_SKINS[step], _SKINS[step + 1], place - step)
    outline = head_outline(face)

    hair.behind(still, face)
    wear.clothes(body, face, skin)
    _ears(still, face, skin)
    front.fill(outline, skin)
    hair.beard(front, face, skin, outline)
    _cheeks(front, face, skin)
    wear.lenses(front, face, skin)
    _nose(front, face, skin)
    _mouth(front, face, skin)
    hair.shadow(front, face, skin)
    _eyes(front, face, skin)
    _brows(front, face)
    hair.in_front(front, face)
    wear.glasses(front, face)
    wear.hat(front, face)
    wear.earrings(still, face)
    return picture


def head_outline(face: Face) -> Points:
    """The head without ears and hair."""
    power, taper, wide, tall = _SHAPES[face.face_shape]
    w, h = face.head_width / 2 * wide, face.head_height / 2 * tall
    down = np.sin(np.linspace(0, 2 * np.pi, 81)[:-1])  # above 0 along the jaw
    outline = canvas.superellipse(np.where(down > 0, 2 / power, 1.0), 80) * (w, h)
    outline[:, 0] *= np.where(down > 0, 1 - taper * down**2, 1.0)
    return outline


def _ears(pen: Pen, face: Face, skin: Colour) -> None:
    for side in (-1, 1):
        x = side * (face.head_width / 2) - 1.2 * face.yaw
        pen.ellipse(x, 2.5, 3.4, 4.6, darker(skin, 0.06))
        pen.ellipse(x, 2.7, 1.9, 2.8, mix(skin, (190, 90, 80), 0.25))


def _cheeks(pen: Pen, face: Face, skin: Colour) -> None:
    blush = mix(skin, (232, 104, 100), 0.08 + 0.22 * face.blush)
    if face.beard not in ("full", "stubble"):
        for side in (-1, 1):
            pen.ellipse(side * 11.6, 9.0, 3.4, 2.6, blush)


def _nose(pen: Pen, face: Face, skin: Colour) -> None:
    k = face.nose_size
    shade = mix(skin, (150, 64, 56), 0.32)
    if face.nose == "button":
        pen.ellipse(0, 7.0, 2.3 * k, 1.8 * k, shade)
    elif face.nose == "soft":
        pen.blob(mirror([(0, 2.0), (1.2, 4.5), (2.6 * k, 7.4), (0, 8.4)]), shade)
    else:
        pen.blob(mirror([(0, 5.4), (2.2 * k, 5.8), (3.8 * k, 7.4), (1.8 * k, 8.4), (0, 8.6)]), shade)


def _mouth(pen: Pen, face: Face, skin: Colour) -> None:
    w, y = face.mouth_width, 14.0
    lip = mix(mix(skin, (176, 52, 62), 0.62), (110, 40, 48), 0.25)
    dark, teeth, tongue = (104, 34, 44), (250, 246, 240), (214, 96, 100)
    if face.mouth == "smile":
        upper = [(-w, y - 1.6), (0, y - 0.4), (w, y - 1.6)]
        pen.blob([*upper, (w * 0.6, y + 2.6), (0, y + 3.8), (-w * 0.6, y + 2.6)], lip)
        upper = [(1.6 - w, y - 0.5), (0, y + 0.3), (w - 1.6, y - 0.5)]
        pen.blob([*upper, (w * 0.5, y + 1.7), (0, y + 2.3), (-w * 0.5, y + 1.7)], teeth)
    elif face.mouth == "open":
        pen.fill(arc(0, y + 1, w * 0.62, 3.6), dark)
        pen.fill(arc(0, y + 3.0, w * 0.4, 1.5), tongue)
        pen.fill(arc(0, y - 0.9, w * 0.44, 1.1), teeth)
    elif face.mouth == "neutral":
        pen.curve(mirror([(-w * 0.75, y), (0, y + 0.7)]), 2.0, lip)
    else:
        pen.curve(mirror([(-w * 0.75, y + 2.0), (-w * 0.4, y + 0.6), (0, y + 0.1)]), 2.0, lip)


def _eyes(pen: Pen, face: Face, skin: Colour) -> None:
    if face.glasses == "sunglasses":
        return
    k, iris = face.eye_size, _IRISES[face.eye_colour]
    for side in (-1, 1):
        x, y = side * face.eye_spacing, 1.4
        look = x + 1.1 * face.gaze
        pen.ellipse(x, y, 4.0 * k, 3.4 * k, (250, 248, 246))
        pen.ellipse(look, y + 0.1, 2.6 * k, 2.7 * k, iris)
        pen.ellipse(look, y + 0.1, 1.45 * k, 1.5 * k, darker(iris, 0.75))
        pen.ellipse(look + 0.9, y - 1.0, 0.8, 0.8, (255, 255, 255))
        pen.stroke(arc(x, y, 4.1 * k, 3.4 * k, 195, 345, 12), 1.3, darker(skin, 0.66))


def _brows(pen: Pen, face: Face) -> None:
    dyed = face.hair_colour in ("teal", "pink")
    colour = (92, 64, 58) if dyed else darker(hair.hair_colour(face), 0.25)
    x, y = face.eye_spacing, -5.0 - face.brow_lift
    for side in (-1, 1):
        brow = [(x - 3.6, y + face.brow_slant * 0.6), (x + 0.6, y - 0.9), (x + 4.2, y + 0.7 - face.brow_slant * 0.6)]
        pen.curve(on_side(side, brow), face.brow_width, colour)


def _light(face: Face) -> np.ndarray:
    """A smooth factor around 1, (64, 64, 1): brighter towards the light."""
    across, down = {"left": (-1.0, -0.4), "right": (1.0, -0.4), "top": (0.0, -1.0)}[face.light]
    towards = across * (_X - canvas.HEAD_X - face.shift_x) / 22 + down * (_Y - canvas.HEAD_Y - face.shift_y) / 24
    return 1 + face.light_strength * (np.tanh(towards) - 0.1)


def _background(face: Face) -> np.ndarray:
    """One of four smooth backgrounds, float (64, 64, 3). Its lightness keeps away from the hair's."""
    hair_light = float(np.dot(hair.hair_colour(face), (0.3, 0.59, 0.11))) / 255
    lightness = 0.62 + 0.24 * face.background_light
    if face.hair_style != "bald" and abs(lightness - hair_light) < 0.16:
        lightness = hair_light - 0.3 if hair_light > 0.55 else hair_light + 0.3
    other = lightness + (0.1 if lightness < 0.7 else -0.1)
    first = np.array(hsl(face.background_hue, 0.36, lightness), dtype=float)
    second = np.array(hsl(face.background_hue + 0.12 * face.background_turn, 0.36, other), dtype=float)
    if face.background == "plain":
        share = np.zeros((SIZE, SIZE, 1))
    elif face.background == "gradient":
        share = (_Y / SIZE) + 0 * _X
    elif face.background == "two_tone":
        slope = _X - 32 + 0.5 * face.background_turn * (_Y - 32)
        share = 1 / (1 + np.exp(-slope / 0.8))
    else:
        share = 1 / (1 + np.exp((np.hypot(_X - 32, _Y - 32) - 27) / 0.8))
    return first + share * (second - first)

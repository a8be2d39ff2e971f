"""What a face is made of: every attribute follows from the id alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ldsmc_bench.errors import UserError

SPLITS = {"train": 60_000, "validation": 2_048, "test": 10_000}

FACE_SHAPES = ("round", "oval", "square", "heart", "long")
HAIR_STYLES = ("bald", "short", "fringe", "side_part", "quiff", "bob", "long", "curly", "bun", "ponytail")
HAIR_COLOURS = ("black", "brown", "auburn", "ginger", "blond", "grey", "teal", "pink")
EYE_COLOURS = ("brown", "blue", "green", "grey")
MOUTHS = ("smile", "neutral", "open", "frown")
NOSES = ("button", "soft", "wide")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square", "half_rim", "sunglasses")
HATS = ("none", "cap", "beanie", "brimmed", "headband")
COLLARS = ("crew", "v_neck", "shirt", "hoodie")
BACKGROUNDS = ("plain", "gradient", "two_tone", "disc")
LIGHTS = ("left", "right", "top")

LONG_HAIR = ("bob", "long", "bun", "ponytail")
COVERING_HATS = ("cap", "beanie", "brimmed")


@dataclass(frozen=True)
class Face:
    """The known attributes of one face. Lengths are in pixels of the 64x64 image, angles in degrees, hues in [0,1)."""

    yaw: float  # -1 (looks left) to 1, how far the features slide over the head
    tilt: float  # degrees, positive leans to the right
    scale: float
    shift_x: float
    shift_y: float
    skin: float  # 0 light to 1 dark
    face_shape: str
    head_width: float
    head_height: float
    hair_style: str
    hair_colour: str
    hair_tone: float  # -1 darker to 1 lighter within its colour
    hair_volume: float
    part_side: int  # -1 or 1: side of the parting and of the tail
    eye_colour: str
    eye_size: float
    eye_spacing: float
    gaze: float  # -1 to 1
    brow_width: float
    brow_lift: float
    brow_slant: float
    nose: str
    nose_size: float
    mouth: str
    mouth_width: float
    blush: float
    beard: str
    glasses: str
    glasses_tone: float
    hat: str
    hat_hue: float
    hat_light: float
    earrings: int
    earring_tone: float
    collar: str
    clothes_hue: float
    clothes_light: float
    background: str
    background_hue: float
    background_light: float
    background_turn: float  # how far the second background colour lies from the first
    light: str
    light_strength: float


@cache
def ids(split: str) -> tuple[str, ...]:
    """All ids of a split (`train`, `validation` or `test`), e.g. `test-000000`. Raises UserError for another name."""
    if split not in SPLITS:
        raise UserError(f"toyfaces has no split {split!r}: choose one of {', '.join(SPLITS)}")
    return tuple(f"{split}-{number:06d}" for number in range(SPLITS[split]))


def check_id(image_id: str) -> None:
    """Raises UserError unless `image_id` belongs to a split."""
    split, _, number = image_id.partition("-")
    known = split in SPLITS and len(number) == 6 and number.isascii() and number.isdigit()
    if not known or int(number) >= SPLITS[split]:
        last = ", ".join(f"{name}-000000 to {name}-{size - 1:06d}" for name, size in SPLITS.items())
        raise UserError(f"toyfaces has no image {image_id!r}: ids are {last}")


def attributes(image_id: str) -> Face:
    """The attributes of one face, seeded by the SHA-256 of its id. Raises UserError for a bad id."""
    check_id(image_id)
    seed = int.from_bytes(hashlib.sha256(image_id.encode()).digest(), "big")
    # Only .random() of a named bit generator: numpy is free to change its other distributions.
    random = np.random.Generator(np.random.PCG64(seed)).random

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(random())

    def middling(low: float, high: float) -> float:  # triangular: the middle is likelier
        return low + (high - low) * 0.5 * float(random() + random())

    def pick(names: Sequence[str], weights: Sequence[float]) -> str:
        ladder = np.cumsum(weights)
        return names[int(np.searchsorted(ladder, float(random()) * ladder[-1], side="right"))]

    hat = pick(HATS, (66, 9, 9, 7, 9))
    # Under a hat only styles that still show are drawn.
    covered = hat in COVERING_HATS
    hair_style = pick(
        HAIR_STYLES, (8, 22, 0, 0, 0, 18, 20, 16, 0, 16) if covered else (6, 13, 11, 12, 10, 11, 12, 10, 7, 8)
    )
    long_hair = hair_style in LONG_HAIR
    return Face(
        yaw=middling(-1, 1),
        tilt=middling(-7, 7),
        scale=between(0.98, 1.06),
        shift_x=middling(-2, 2),
        shift_y=middling(-1, 1),
        skin=between(0, 1),
        face_shape=pick(FACE_SHAPES, (1, 1, 1, 1, 1)),
        head_width=between(37.5, 41.5),
        head_height=between(42.5, 45.5),
        hair_style=hair_style,
        hair_colour=pick(HAIR_COLOURS, (20, 22, 10, 10, 14, 9, 7, 8)),
        hair_tone=between(-1, 1),
        hair_volume=between(0, 1),
        part_side=-1 if random() < 0.5 else 1,
        eye_colour=pick(EYE_COLOURS, (45, 22, 20, 13)),
        eye_size=between(0.88, 1.15),
        eye_spacing=between(7.6, 9.0),
        gaze=middling(-1, 1),
        brow_width=between(1.4, 2.4),
        brow_lift=between(-0.8, 1.2),
        brow_slant=middling(-1.2, 1.2),
        nose=pick(NOSES, (1, 1, 1)),
        nose_size=between(0.85, 1.15),
        mouth=pick(MOUTHS, (38, 24, 24, 14)),
        mouth_width=between(5.0, 7.2),
        blush=between(0, 1),
        beard=pick(BEARDS, (88, 3, 3, 3, 3) if long_hair else (54, 11, 11, 10, 14)),
        glasses=pick(GLASSES, (60, 11, 11, 8, 10)),
        glasses_tone=between(0, 1),
        hat=hat,
        hat_hue=between(0, 1),
        hat_light=between(0, 1),
        earrings=int(random() < (0.4 if long_hair else 0.15)),
        earring_tone=between(0, 1),
        collar=pick(COLLARS, (30, 22, 26, 22)),
        clothes_hue=between(0, 1),
        clothes_light=between(0, 1),
        background=pick(BACKGROUNDS, (1, 1, 1, 1)),
        background_hue=between(0, 1),
        background_light=between(0, 1),
        background_turn=between(-1, 1),
        light=pick(LIGHTS, (1, 1, 1)),
        light_strength=between(0.06, 0.2),
    )


def _named(field: str, names: tuple[str, ...]) -> tuple[int, Callable[[Face], int]]:
    return len(names), lambda face: names.index(getattr(face, field))


def _binned(field: str, edges: tuple[float, ...]) -> tuple[int, Callable[[Face], int]]:
    return len(edges) + 1, lambda face: int(np.searchsorted(edges, getattr(face, field)))


_SIXTHS = tuple(i / 6 for i in range(1, 6))
_LABELLERS: dict[str, tuple[int, Callable[[Face], int]]] = {
    "yaw": _binned("yaw", (-0.25, 0.25)),
    "skin": _binned("skin", (0.2, 0.4, 0.6, 0.8)),
    "face_shape": _named("face_shape", FACE_SHAPES),
    "hair_style": _named("hair_style", HAIR_STYLES),
    "hair_colour": _named("hair_colour", HAIR_COLOURS),
    "eye_colour": _named("eye_colour", EYE_COLOURS),
    "nose": _named("nose", NOSES),
    "mouth": _named("mouth", MOUTHS),
    "beard": _named("beard", BEARDS),
    "glasses": _named("glasses", GLASSES),
    "hat": _named("hat", HATS),
    "earrings": (2, lambda face: face.earrings),
    "collar": _named("collar", COLLARS),
    "clothes_hue": _binned("clothes_hue", _SIXTHS),
    "background": _named("background", BACKGROUNDS),
    "background_hue": _binned("background_hue", _SIXTHS),
    "light": _named("light", LIGHTS),
}

LABELS: dict[str, int] = {name: classes for name, (classes, _) in _LABELLERS.items()}
"""Name and number of classes of each label; continuous attributes are binned."""


def labels(image_id: str) -> np.ndarray:
    """The classes of one face, int64 of shape (len(LABELS),), in the order of LABELS. Raises UserError for a bad id."""
    face = attributes(image_id)
    return np.array([labeller(face) for _, labeller in _LABELLERS.values()], dtype=np.int64)

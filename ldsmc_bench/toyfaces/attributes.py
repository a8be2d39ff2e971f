"""The attributes of a face, their laws and their classes: all of them follow from the id alone."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from ldsmc_bench.errors import UserError

SPLITS = {"train": 60_000, "validation": 2_048, "test": 10_000}

LONG_HAIR = ("bob", "long", "bun", "ponytail")
COVERING_HATS = ("cap", "beanie", "brimmed")
SIXTHS = tuple(i / 6 for i in range(1, 6))

Random = Callable[[], float]  # the next number, uniform in [0,1)
Drawn = Mapping[str, Any]  # the attributes that were drawn before


def _drawn_by(
    draw: Callable[[Random, Drawn], Any], values: Sequence[Any] = (), label: Callable[[Any], int] = int
) -> Any:
    """A field with its law, and its label where it has classes: `values` has one value of each."""
    return field(metadata={"draw": draw, "values": tuple(values), "label": label})


def _between(low: float, high: float, edges: tuple[float, ...] = (), peaked: bool = False) -> Any:
    """Uniform, or triangular if `peaked`; `edges` divide it into classes."""

    def draw(random: Random, _: Drawn) -> float:
        return low + (high - low) * (0.5 * float(random() + random()) if peaked else float(random()))

    middles = [(a + b) / 2 for a, b in pairwise((low, *edges, high))] if edges else ()
    return _drawn_by(draw, middles, lambda value: int(np.searchsorted(edges, value)))


def _pick(weights: Mapping[str, float], instead: Callable[[Drawn], tuple[float, ...] | None] = lambda _: None) -> Any:
    """One of the names, by their weights or by those that other attributes put in their place."""
    names = list(weights)

    def draw(random: Random, drawn: Drawn) -> str:
        ladder = np.cumsum(instead(drawn) or list(weights.values()))
        return names[int(np.searchsorted(ladder, float(random()) * ladder[-1], side="right"))]

    return _drawn_by(draw, names, names.index)


@dataclass(frozen=True)
class Face:
    """The known attributes of one face. Lengths are in pixels of the 64x64 image, angles in degrees, hues in [0,1)."""

    yaw: float = _between(-1, 1, (-0.25, 0.25), peaked=True)  # -1 looks left: how far the features slide over the head
    tilt: float = _between(-7, 7, peaked=True)  # degrees, positive leans to the right
    scale: float = _between(0.98, 1.06)
    shift_x: float = _between(-2, 2, peaked=True)
    shift_y: float = _between(-1, 1, peaked=True)
    skin: float = _between(0, 1, (0.2, 0.4, 0.6, 0.8))  # 0 light to 1 dark
    face_shape: str = _pick({"round": 1, "oval": 1, "square": 1, "heart": 1, "long": 1})
    head_width: float = _between(37.5, 41.5)
    head_height: float = _between(42.5, 45.5)
    hair_style: str = _pick(
        {"bald": 6, "short": 13, "fringe": 11, "side_part": 12, "quiff": 10}
        | {"bob": 11, "long": 12, "curly": 10, "bun": 7, "ponytail": 8},
        # Under a hat, only styles that still show.
        lambda drawn: (8, 22, 0, 0, 0, 18, 20, 16, 0, 16) if drawn["hat"] in COVERING_HATS else None,
    )
    hair_colour: str = _pick(
        {"black": 20, "brown": 22, "auburn": 10, "ginger": 10, "blond": 14, "grey": 9, "teal": 7, "pink": 8}
    )
    hair_tone: float = _between(-1, 1)  # -1 darker to 1 lighter within its colour
    hair_volume: float = _between(0, 1)
    part_side: int = _drawn_by(lambda random, _: -1 if random() < 0.5 else 1)  # of the parting and of the tail
    eye_colour: str = _pick({"brown": 45, "blue": 22, "green": 20, "grey": 13})
    eye_size: float = _between(0.88, 1.15)
    eye_spacing: float = _between(7.6, 9.0)
    gaze: float = _between(-1, 1, peaked=True)
    brow_width: float = _between(1.4, 2.4)
    brow_lift: float = _between(-0.8, 1.2)
    brow_slant: float = _between(-1.2, 1.2, peaked=True)
    nose: str = _pick({"button": 1, "soft": 1, "wide": 1})
    nose_size: float = _between(0.85, 1.15)
    mouth: str = _pick({"smile": 38, "neutral": 24, "open": 24, "frown": 14})
    mouth_width: float = _between(5.0, 7.2)
    blush: float = _between(0, 1)
    beard: str = _pick(
        {"none": 54, "stubble": 11, "moustache": 11, "goatee": 10, "full": 14},
        lambda drawn: (88, 3, 3, 3, 3) if drawn["hair_style"] in LONG_HAIR else None,
    )
    glasses: str = _pick({"none": 60, "round": 11, "square": 11, "half_rim": 8, "sunglasses": 10})
    glasses_tone: float = _between(0, 1)
    hat: str = _pick({"none": 66, "cap": 9, "beanie": 9, "brimmed": 7, "headband": 9})
    hat_hue: float = _between(0, 1)
    hat_light: float = _between(0, 1)
    earrings: int = _drawn_by(
        lambda random, drawn: int(random() < (0.4 if drawn["hair_style"] in LONG_HAIR else 0.15)), (0, 1)
    )
    earring_tone: float = _between(0, 1)
    collar: str = _pick({"crew": 30, "v_neck": 22, "shirt": 26, "hoodie": 22})
    clothes_hue: float = _between(0, 1, SIXTHS)
    clothes_light: float = _between(0, 1)
    background: str = _pick({"plain": 1, "gradient": 1, "two_tone": 1, "disc": 1})
    background_hue: float = _between(0, 1, SIXTHS)
    background_light: float = _between(0, 1)
    background_turn: float = _between(-1, 1)  # how far the second background colour lies from the first
    light: str = _pick({"left": 1, "right": 1, "top": 1})
    light_strength: float = _between(0.06, 0.2)


_LAWS = {field.name: field.metadata for field in fields(Face)}
_ORDER = ("hat", "hair_style", *(name for name in _LAWS if name not in ("hat", "hair_style")))

VALUES: dict[str, tuple[Any, ...]] = {name: law["values"] for name, law in _LAWS.items() if law["values"]}
"""The name of each label, and a value of each of its classes; continuous attributes are binned."""

LABELS: dict[str, int] = {name: len(values) for name, values in VALUES.items()}
"""Name and number of classes of each label."""


@cache
def ids(split: str) -> tuple[str, ...]:
    """All ids of a split (`train`, `validation` or `test`), e.g. `test-000000`. Raises UserError for another name."""
    if split not in SPLITS:
        raise UserError(f"dataset.split={split}: toyfaces has no such split; choose one of {', '.join(SPLITS)}")
    return tuple(f"{split}-{number:06d}" for number in range(SPLITS[split]))


def attributes(image_id: str) -> Face:
    """The attributes of one face, seeded by the SHA-256 of its id. Raises UserError for a bad id."""
    split, _, number = image_id.partition("-")
    if not (number.isdecimal() and image_id == f"{split}-{int(number):06d}" and int(number) < SPLITS.get(split, 0)):
        known = ", ".join(f"{name}-000000 to {name}-{size - 1:06d}" for name, size in SPLITS.items())
        raise UserError(f"toyfaces has no image {image_id!r}: ids are {known}")
    seed = int.from_bytes(hashlib.sha256(image_id.encode()).digest(), "big")
    # Only .random() of a named bit generator: numpy is free to change its other distributions.
    random = np.random.Generator(np.random.PCG64(seed)).random
    drawn: dict[str, Any] = {}
    for name in _ORDER:
        drawn[name] = _LAWS[name]["draw"](random, drawn)
    return Face(**drawn)


def labels(image_id: str) -> np.ndarray:
    """The classes of one face, int64 of shape (len(LABELS),), in the order of LABELS. Raises UserError for a bad id."""
    face = attributes(image_id)
    return np.array([_LAWS[name]["label"](getattr(face, name)) for name in LABELS], dtype=np.int64)

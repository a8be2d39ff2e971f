"""Where images come from: the faces that the program draws, or any folder of pictures."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ldsmc_bench.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Pictures may be of any size: Pillow's limit guards against strangers' files, and these are the user's own.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images by id: `load(id)` is (3,S,S) float32 in [-1,1]; `digest` changes with the ids and the way to load them.

    `labels` holds the class of every id, where the data set has classes.
    """

    name: str
    ids: Sequence[str]
    load: Callable[[str], Tensor]
    digest: str
    labels: Mapping[str, int] | None = None


def toyfaces(split: str = "test") -> Dataset:
    """The embedded data set: 64x64 faces, each drawn from its id."""
    from ldsmc_bench.problem import toyfaces as faces  # drawing is not needed where the pictures are a folder's

    ids = faces.ids(split)
    return Dataset("toyfaces", ids, lambda image_id: _tensor(faces.array(image_id)), _digest([faces.VERSION, *ids]))


def folder(root: str | None, image_size: int) -> Dataset:
    """All png, jpg and webp pictures under `root`, its subfolders included, hidden files left out.

    A picture may have any size, mode and orientation: its EXIF orientation is applied, transparent parts become
    white, grey becomes RGB, 16 bits become 8, an animation is its first frame; then the largest centred square is
    resized to `image_size` (bicubic, antialiased). An id is the path below `root` without its suffix, made safe for
    file names and unique. Raises UserError without a root or without pictures in it; `load` raises it, naming the
    file, for one that cannot be read.
    """
    if not root or root == "???":
        raise UserError("dataset.root is not set: give the folder of your pictures, dataset.root=/path/to/pictures")
    top = Path(str(root)).expanduser()  # YAML reads a folder called 2024 as a number
    if not top.is_dir():
        raise UserError(f"dataset.root={root}: no such folder")
    names = sorted(_pictures(top))
    if not names:
        raise UserError(f"dataset.root={root}: no pictures ({', '.join(SUFFIXES)}) in this folder")
    paths = {image_id: top / name for image_id, name in zip(_unique_ids(names), names, strict=True)}
    return Dataset(
        name="folder",
        ids=sorted(paths),
        load=lambda image_id: _tensor(_read(paths[image_id], image_size)),
        digest=_digest(["bicubic", image_size, *(f"{name} {(top / name).stat().st_size}" for name in names)]),
    )


def _pictures(top: Path) -> Iterable[str]:
    for path in top.rglob("*"):
        name = path.relative_to(top)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _unique_ids(names: Sequence[str]) -> list[str]:
    """One id a name; names that would share one (a.png, a.jpg, and A.png as some disks ignore case) get a hash each."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "_", str(Path(name).with_suffix(""))).strip("._-")[:100] for name in names]
    count = Counter(text.lower() for text in plain)
    hashes = [hashlib.sha256(os.fsencode(name)).hexdigest()[:8] for name in names]
    return [
        text if text and count[text.lower()] == 1 else f"{text or 'image'}-{mark}"
        for text, mark in zip(plain, hashes, strict=True)
    ]


def _read(path: Path, side: int) -> np.ndarray:
    """(side,side,3) uint8."""
    try:
        with Image.open(path) as picture:
            upright = _rgb(ImageOps.exif_transpose(picture))
    except Exception as error:  # Pillow's decoders raise almost anything on a broken file
        raise UserError(f"{path}: this image cannot be read ({error}); repair or remove it") from error
    short = min(upright.size)
    left, top = (upright.width - short) / 2, (upright.height - short) / 2
    square = (left, top, left + short, top + short)
    return np.asarray(upright.resize((side, side), Image.Resampling.BICUBIC, box=square))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        picture = Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")


def _tensor(pixels: np.ndarray) -> Tensor:
    """(S,S,3) uint8 -> (3,S,S) float32 in [-1,1]."""
    return torch.tensor(pixels).permute(2, 0, 1).contiguous() / 127.5 - 1


def _digest(parts: Iterable[object]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(map(str, parts)))).hexdigest()

"""Where images come from: the faces that the program draws, any folder of pictures, or one whose ids are known."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem import pictures

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images by id: `load(id)` is (3,S,S) float32 in [-1,1]; `digest` changes with the ids, their classes and the way
    to load them, not with the place or the state of the files.

    `labels` holds the class of every id, where the data set has classes.
    """

    name: str
    ids: Sequence[str]
    load: Callable[[str], Tensor]
    digest: str
    labels: Mapping[str, int] | None = None


def toyfaces(split: str = "test") -> Dataset:
    """The embedded data set: 64x64 faces, each drawn from its id. Raises UserError for an unknown split."""
    from ldsmc_bench.problem import toyfaces as faces  # drawing is not needed where the pictures are a folder's

    try:
        ids = faces.ids(split)
    except UserError as error:
        raise UserError(f"dataset.split={split}: {error}") from error
    return Dataset(
        "toyfaces", ids, lambda image_id: pictures.tensor(faces.array(image_id)), _digest(faces.VERSION, ids)
    )


def folder(root: str | None, image_size: int) -> Dataset:
    """All png, jpg and webp pictures under `root`, its subfolders included, hidden files left out.

    An id is the path below `root` without its suffix, made safe for file names and unique. Raises UserError without a
    root or without pictures in it; `load` raises it, naming the file, for one that cannot be read.
    """
    top = folder_at(root)
    names = sorted(_pictures(top))
    if not names:
        raise UserError(f"dataset.root={root}: no pictures ({', '.join(SUFFIXES)}) in this folder")
    paths = {image_id: top / name for image_id, name in zip(_unique_ids(names), names, strict=True)}
    return Dataset(
        name="folder",
        ids=sorted(paths),
        load=lambda image_id: pictures.read(paths[image_id], image_size),
        digest=_digest(f"{pictures.TRANSFORM} {image_size}", names),
    )


def listed(
    name: str,
    root: str | None,
    ids: Sequence[str],
    places: Callable[[str], Sequence[str]],
    n_images: int,
    image_size: int,
    labels: Mapping[str, int] | None = None,
) -> Dataset:
    """Pictures known by their ids, wherever they lie: that of an id is the first of `places(id)` that exists under
    `root`. The first `n_images` have to be there; for the others is not looked, so that a part of the data set will do
    for a first look. Raises UserError without a root, and names the first missing picture.
    """
    top = folder_at(root)

    def path(image_id: str) -> Path | None:
        return next((top / place for place in places(image_id) if (top / place).is_file()), None)

    def load(image_id: str) -> Tensor:
        found = path(image_id)
        if found is None:
            raise UserError(f"dataset.root={root}: {image_id} is missing ({' or '.join(places(image_id))})")
        return pictures.read(found, image_size)

    wanted = ids[:n_images]
    missing = [image_id for image_id in wanted if path(image_id) is None]
    if missing:
        raise UserError(
            f"dataset.root={root}: {len(missing)} of {len(wanted)} pictures are missing, the first of them "
            f"{missing[0]} ({' or '.join(places(missing[0]))})"
        )
    lines = [f"{image_id} {labels[image_id]}" for image_id in ids] if labels is not None else ids
    return Dataset(name, ids, load, _digest(f"{pictures.TRANSFORM} {image_size}", lines), labels)


def folder_at(root: str | None) -> Path:
    """Raises UserError where `dataset.root` is not set or no folder."""
    if not root or root == "???":
        raise UserError("dataset.root is not set: give the folder of your pictures, dataset.root=/path/to/pictures")
    top = Path(str(root)).expanduser()  # YAML reads a folder called 2024 as a number
    if not top.is_dir():
        raise UserError(f"dataset.root={root}: no such folder")
    return top


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


def _digest(way: object, ids: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join([str(way), *ids]))).hexdigest()

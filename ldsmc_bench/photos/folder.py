"""Pictures in a folder: all that there are, or those of a list of ids."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.problem import pictures
from ldsmc_bench.problem.datasets import Dataset, digest_of

CHANNELS = (1, 3)  # of picture files
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_SUFFIXES: tuple[str, ...] = (".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".jp2", ".jxl")
OTHER_SUFFIXES += (".ppm", ".pgm", ".npy", ".raw", ".dng")


def folder(root: str | None, image_size: pictures.Size, collection: str | None = None, channels: int = 3) -> Dataset:
    """All png, jpg and webp pictures under `root`, its subfolders included, hidden files left out, in RGB or grey.

    An id is the path below `root`, without `.png`, safe as a file name; it does not depend on the other pictures.
    `collection` names the folder in a run's identity: None for its path. Raises UserError without a root or without
    pictures in it; `load` raises it, naming the file, for one that cannot be read.
    """
    top, size = folder_at(root), image_size if isinstance(image_size, int | None) else pictures.sides(image_size)
    require_colours("folder", channels)
    paths = {id_of(name): top / name for name in sorted(_pictures(top, root))}
    if not paths:
        raise UserError(f"dataset.root={root}: no pictures ({', '.join(SUFFIXES)}) in this folder")

    def load(image_id: str) -> Tensor:
        return pictures.read(paths[image_id], image_size, channels)

    digest = digest_of(transform(size, channels), [collection_of(top, collection)])
    return Dataset("folder", sorted(paths), load, digest, None, lambda image_id: state_of(paths[image_id]))


def require_colours(name: str, channels: int) -> None:
    """Raises UserError for images that no picture file holds."""
    if channels not in CHANNELS:
        remedy = "give a folder of .npy to dataset=arrays"
        raise UserError(f"dataset={name}: pictures have 1 or 3 channels, the prior's images {channels}; {remedy}")


def transform(size: pictures.Size, channels: int) -> str:
    """The name of the way from a picture to an image, for a run's identity."""
    return f"{pictures.TRANSFORM}{' grey' if channels == 1 else ''} {size}"


def listed(
    name: str,
    root: str | None,
    ids: Sequence[str],
    places: Callable[[str], Sequence[str]],
    n_images: int,
    image_size: int,
    labels: Mapping[str, int] | None = None,
    collection: str | None = None,
) -> Dataset:
    """Pictures known by their ids: that of an id is the first of `places(id)` that exists under `root`.

    Only the first `n_images` files must exist, so that a part of the data set will do for a first look. `collection`
    names the folder in a run's identity: None for its path. Raises UserError without a root, and names the first
    missing picture.
    """
    top = folder_at(root)

    def find(image_id: str) -> Path | None:
        return next((top / place for place in places(image_id) if (top / place).is_file()), None)

    def load(image_id: str) -> Tensor:
        if (path := find(image_id)) is None:
            raise UserError(f"dataset.root={root}: {image_id} is missing ({' or '.join(places(image_id))})")
        return pictures.read(path, image_size)

    wanted = ids[:n_images]
    missing = [image_id for image_id in wanted if find(image_id) is None]
    if missing:
        raise UserError(
            f"dataset.root={root}: {len(missing)} of {len(wanted)} pictures are missing, the first of them "
            f"{missing[0]} ({' or '.join(places(missing[0]))})"
        )

    lines = [f"{image_id} {labels[image_id]}" for image_id in ids] if labels is not None else ids
    digest = digest_of(f"{pictures.TRANSFORM} {image_size}", [collection_of(top, collection), *lines])
    return Dataset(name, ids, load, digest, labels, lambda image_id: state_of(find(image_id)))


def folder_at(root: str | None) -> Path:
    """The folder that `dataset.root` names. Raises UserError where it is not set or cannot be read."""
    if not root or root == "???":
        raise UserError("dataset.root is not set: give the folder of your pictures, dataset.root=/path/to/pictures")
    top = Path(str(root)).expanduser()  # YAML reads a folder called 2024 as a number
    if not top.is_dir():
        raise UserError(f"dataset.root={root}: no such folder")
    try:
        os.listdir(top)
    except OSError as error:
        raise UserError(f"dataset.root={root}: this folder cannot be read ({error.strerror})") from error
    return top


def _pictures(top: Path, root: str | None) -> Iterator[str]:
    """The paths below `top` of all pictures, each folder listed once, links followed. A warning counts the rest."""
    passed_over: dict[str, list[str]] = {}

    def unreadable(error: OSError) -> None:
        passed_over.setdefault("folders that cannot be read", []).append(os.path.relpath(error.filename, top))

    seen = set()
    for place, folders, files in os.walk(top, onerror=unreadable, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link that leads back up, or to what was listed elsewhere
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            below = path.relative_to(top).as_posix()
            if name.startswith("."):
                continue
            if path.suffix.lower() not in SUFFIXES:
                if path.suffix.lower() in OTHER_SUFFIXES:
                    passed_over.setdefault(f"pictures of other types than {', '.join(SUFFIXES)}", []).append(below)
            elif path.is_file():
                yield below
            else:
                passed_over.setdefault("links that lead nowhere", []).append(below)
    if passed_over:
        counts = [
            f"{len(names)} {what} ({names[0]}{', …' if names[1:] else ''})" for what, names in passed_over.items()
        ]
        warn(f"dataset.root={root}: passed over {'; '.join(counts)}")


def id_of(name: str) -> str:
    """The id of the picture at this path: the path itself, without `.png`, if that is a plain name, else a safe name
    with a digest. No two paths share one, whatever the case of their letters."""
    stem = name.removesuffix(".png")
    if re.fullmatch(r"[a-z0-9_-]{1,100}" if stem != name else r"[a-z0-9_-]{1,100}\.(jpg|jpeg|webp)", stem):
        return stem
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", str(Path(name).with_suffix(""))).strip("_-")[:100]
    return f"{safe or 'image'}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def collection_of(top: Path, collection: str | None) -> str:
    """The name of pictures in a run's identity: what the user calls them, else their path."""
    return f"collection {collection}" if collection is not None else f"folder {os.path.abspath(top)}"


def state_of(path: Path | None) -> str | None:
    """A text that changes with a file's content: no program can set the time of a file's last change (ctime) back."""
    try:
        found = os.stat(path) if path else None
    except OSError:
        return None
    return found and f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"

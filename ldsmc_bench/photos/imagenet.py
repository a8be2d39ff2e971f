"""ImageNet (Russakovsky et al. 2015): 50,000 validation pictures of the classes 0 to 999, as networks count them.

A class is the rank of its synset (n01440764, ...) among all 1000 sorted ones. Lists of class numbers are not read: the
devkit counts in another order, and a number does not say which order is meant.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos import ids
from ldsmc_bench.photos.folder import folder_at, listed
from ldsmc_bench.problem.datasets import Dataset

CLASSES = 1000
SYNSET = re.compile(r"n\d{8}")
SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".png")
# The classes of the first pictures: sea snake, alp, Shetland sheepdog, soup bowl, cradle (source: Caffe's val.txt).
KNOWN = {f"ILSVRC2012_val_{i:08d}": label for i, label in enumerate((65, 970, 230, 809, 516), start=1)}


def imagenet(
    root: str | None, split: str, labels: str | None, n_images: int, image_size: int, collection: str | None = None
) -> Dataset:
    """The `test` or the `tuning` pictures of ImageNet's validation set with their classes.

    `root` holds them in 1000 folders by synset (n01440764/), or flat (ILSVRC2012_val_00000001.JPEG); `labels` is then
    Kaggle's `LOC_val_solution.csv`. Raises UserError where the classes are not certain.
    """
    wanted = ids.read_ids("imagenet", split)
    top = folder_at(root)
    folders = sorted(entry.name for entry in os.scandir(top) if SYNSET.fullmatch(entry.name) and entry.is_dir())
    where = f"dataset.labels={labels}" if labels else f"dataset.root={root}"
    if folders and labels:
        raise UserError(f"{where}: leave it out; dataset.root={root} has synset folders, which give the classes")
    if not folders and not labels:
        raise UserError(
            f"dataset.labels is not set: {where} has no synset folders; give the classes with "
            "dataset.labels=/path/to/LOC_val_solution.csv"
        )
    places = {image_id: [f"{image_id}{suffix}" for suffix in SUFFIXES] for image_id in wanted}
    if labels:
        synsets = dict(_read_solution(labels, where))
    else:
        found = dict(_list_folders(top, folders, where))
        synsets = {image_id: place.split("/")[0] for image_id, place in found.items()}
        places = {image_id: [place] for image_id, place in found.items()}
    rank = {synset: number for number, synset in enumerate(sorted(folders or set(synsets.values())))}
    if len(rank) != CLASSES:
        raise UserError(f"{where}: {len(rank)} synsets, but a class is a rank among all {CLASSES}; complete them")
    classes = {name: rank[synset] for name, synset in synsets.items()}
    for name, known in KNOWN.items():
        if classes.get(name, known) != known:
            raise UserError(f"{where}: {name} would have class {classes[name]} instead of {known}: other synsets")
    missing = [image_id for image_id in wanted if image_id not in classes]
    if missing:  # of the whole split, as its classes are part of a run's identity
        raise UserError(
            f"{where}: no class for {len(missing)} of the {len(wanted)} ids of the split: {missing[0]}, ..."
        )
    labelled = {image_id: classes[image_id] for image_id in wanted}
    return listed("imagenet", root, wanted, places.__getitem__, n_images, image_size, labelled, collection)


def _list_folders(top: Path, folders: Sequence[str], where: str) -> Iterator[tuple[str, str]]:
    """Id and path below `top` of every validation picture in the synset folders."""
    seen: dict[str, str] = {}
    for folder in folders:
        for entry in sorted(os.listdir(top / folder)):
            name, suffix = os.path.splitext(entry)
            if name.startswith("ILSVRC2012_val_") and suffix in SUFFIXES:
                if seen.setdefault(name, folder) != folder:
                    raise UserError(f"{where}: {name} is in {folder} and in {seen[name]} too")
                yield name, f"{folder}/{entry}"


def _read_solution(path: str, where: str) -> Iterator[tuple[str, str]]:
    """Id and synset of every line `ILSVRC2012_val_00000001,n01751748 ...`, boxes left out."""
    try:
        text = Path(str(path)).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: cannot be read as text ({error})") from error
    seen = set()
    for line in text.splitlines():
        name, synset, *_ = [*re.split(r"[,\s]+", line.strip()), ""]
        if not name or name == "ImageId":
            continue
        if not SYNSET.fullmatch(synset):
            raise UserError(f"{where}: no picture and synset in {line[:60]!r}; give Kaggle's LOC_val_solution.csv")
        if name in seen:
            raise UserError(f"{where}: {name} has several lines")
        seen.add(name)
        yield name, synset

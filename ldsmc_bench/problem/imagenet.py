"""ImageNet (Russakovsky et al. 2015): 50,000 validation pictures of the classes 0 to 999, as networks count them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem import ids
from ldsmc_bench.problem.datasets import Dataset, folder_at, listed
from ldsmc_bench.problem.imagenet_labels import CLASSES, SYNSET, labels_of, ordered_synsets, verified

SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".png")


def imagenet(
    root: str | None, split: str, labels: str | None, synsets: str | None, n_images: int, image_size: int
) -> Dataset:
    """The `test` or the `tuning` pictures of ImageNet's validation set with their classes.

    `root` holds them flat (ILSVRC2012_val_00000001.JPEG), and `labels` is then a file of their classes; or in folders
    by synset (n01440764/), which tell the class. `imagenet_labels` says what `labels` and `synsets` may be. A class is
    always the rank of its synset among the 1000 sorted ones. Raises UserError where the classes are not certain.
    """
    wanted = ids.kept("imagenet", split)
    top = folder_at(root)
    folders = sorted(entry.name for entry in os.scandir(top) if SYNSET.fullmatch(entry.name) and entry.is_dir())
    if folders and labels:
        raise UserError(f"dataset.labels={labels}: the synset folders of dataset.root={root} tell the classes")
    if not folders and not labels:
        raise UserError(
            f"dataset.labels is not set: dataset.root={root} has no synset folders, so a file must tell the classes: "
            "LOC_val_solution.csv, val.txt, or the devkit's ILSVRC2012_validation_ground_truth.txt"
        )
    places: Callable[[str], Sequence[str]] = _flat
    if labels:
        classes = labels_of(labels, synsets)
        lacks = f"dataset.labels={labels}: no class"
    else:
        classes, found = _by_synset(top, folders, synsets)
        places = found.__getitem__
        lacks = f"dataset.root={root}: no picture in any synset folder"
    missing = [image_id for image_id in wanted if image_id not in classes]
    if missing:  # of the whole split, as its classes are part of a run's identity
        raise UserError(f"{lacks} for {len(missing)} of the {len(wanted)} ids of the split, the first {missing[0]}")
    return listed("imagenet", root, wanted, places, n_images, image_size, {i: classes[i] for i in wanted})


def _flat(image_id: str) -> Sequence[str]:
    return [f"{image_id}{suffix}" for suffix in SUFFIXES]


def _by_synset(top: Path, folders: Sequence[str], synsets: str | None) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Class and place of every validation picture in the synset folders."""
    known = sorted(ordered_synsets(synsets)) if synsets else folders
    if len(known) != CLASSES:
        raise UserError(
            f"dataset.root={top}: {len(folders)} synset folders, but a class is a rank among all {CLASSES}; "
            "complete them, or give a file of the synsets with dataset.synsets=..."
        )
    rank = {synset: number for number, synset in enumerate(known)}
    labels: dict[str, int] = {}
    places: dict[str, list[str]] = {}
    for folder in folders:
        if folder not in rank:
            raise UserError(f"dataset.root={top}: {folder} is not among the synsets of dataset.synsets={synsets}")
        for entry in sorted(os.listdir(top / folder)):
            name, suffix = os.path.splitext(entry)
            if name.startswith("ILSVRC2012_val_") and suffix in SUFFIXES:
                if labels.setdefault(name, rank[folder]) != rank[folder]:
                    raise UserError(f"dataset.root={top}: {name} is in {folder} and is {places[name][0]} too")
                places[name] = [f"{folder}/{entry}"]
    return verified(labels, f"dataset.root={top}"), places

"""The classes of ImageNet's validation pictures, from the files that tell them.

There are two ways to count the 1000 classes, and a number alone does not tell which one is meant. Networks count 0 to
999 in the order of the sorted synset names (n01440764, ...), as torchvision and Caffe do; the devkit's ground truth
counts 1 to 1000 in an order of its own, which only its meta.mat explains. What comes out of here is always the former,
and whatever holds well-known pictures is compared with their known classes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.io import loadmat

from ldsmc_bench.errors import UserError

CLASSES, PICTURES = 1000, 50_000
SYNSET = re.compile(r"n\d{8}")
# The first pictures' classes in the networks' order: sea snake, alp, Shetland sheepdog, soup bowl, cradle (source: the
# head of Caffe's val.txt). In the devkit's numbers these are 490, 361, 171, 822, 297.
KNOWN = {f"ILSVRC2012_val_{i:08d}": label for i, label in enumerate((65, 970, 230, 809, 516), start=1)}


def labels_of(path: str, synsets: str | None = None) -> dict[str, int]:
    """Class 0 to 999 by id, from a text file that is one of these:

    - lines of a name and a synset (`LOC_val_solution.csv`, with its header and boxes);
    - lines of a name and a class in the networks' order (Caffe's `val.txt`), for all pictures;
    - 50,000 synsets, one for each picture in turn;
    - 50,000 numbers 1 to 1000, the devkit's `ILSVRC2012_validation_ground_truth.txt`; `synsets` must then explain the
      numbers (see `ordered_synsets`).

    Raises UserError for anything else, and wherever it stays open which class is meant.
    """
    where = f"dataset.labels={path}"
    names, told = _columns(_text(path, "dataset.labels"), where)
    synset = [SYNSET.fullmatch(text) is not None for text in told]
    if all(synset):
        classes = _ranks(told, synsets, where)
    elif any(synset):
        raise UserError(f"{where}: synsets and numbers are mixed, as {told[synset.index(True)]} and others")
    elif not all(text.isdecimal() for text in told):
        odd = next(text for text in told if not text.isdecimal())
        raise UserError(f"{where}: {odd!r} is neither a synset (n01440764) nor a number")
    elif names is not None:
        classes = _network_numbers(names, [int(text) for text in told], where)
    else:
        classes = _devkit_numbers([int(text) for text in told], synsets, where)
    every = names or [f"ILSVRC2012_val_{number:08d}" for number in range(1, PICTURES + 1)]
    return verified(dict(zip(every, classes, strict=True)), where)


def ordered_synsets(path: str) -> list[str]:
    """The 1000 synsets in the order of a file: the devkit's `meta.mat` (by its class numbers), or a text with one a
    line, words after it or not (`map_clsloc.txt`, `synset_words.txt`). Raises UserError for anything else."""
    if Path(str(path)).suffix == ".mat":
        found = _meta(path)
    else:
        found = [line.split()[0] for line in _text(path, "dataset.synsets").splitlines() if line.strip()]
    odd = next((name for name in found if not SYNSET.fullmatch(name)), None)
    if odd is not None or len(found) != CLASSES or len(set(found)) != CLASSES:
        what = f"{odd!r} is no synset" if odd is not None else f"{len(set(found))} synsets, not {CLASSES}"
        raise UserError(f"dataset.synsets={path}: {what}; give the devkit's data/meta.mat, or a text with one a line")
    return found


def verified(labels: dict[str, int], where: str) -> dict[str, int]:
    """The same labels. Raises UserError where a well-known picture has another class than its own."""
    for name, known in KNOWN.items():
        if labels.get(name, known) != known:
            raise UserError(
                f"{where}: {name} would have class {labels[name]}, but as networks count it has {known}: "
                "these classes are counted in another order"
            )
    return labels


def _columns(text: str, where: str) -> tuple[list[str] | None, list[str]]:
    """The ids, or None in a file without names, and what is said of the class of each."""
    rows = [re.split(r"[,\s]+", line.strip()) for line in text.splitlines() if line.strip()]
    rows = rows[1:] if rows and rows[0][0] == "ImageId" else rows
    named = bool(rows) and len(rows[0]) > 1
    if not rows or any((len(row) > 1) != named for row in rows):
        raise UserError(f"{where}: neither lines of a name and a class nor a class a line")
    if not named:
        if len(rows) != PICTURES:
            raise UserError(f"{where}: {len(rows)} lines without names, but there are {PICTURES} pictures")
        return None, [row[0] for row in rows]
    names = [Path(row[0]).stem for row in rows]
    if len(set(names)) != len(names):
        raise UserError(f"{where}: some picture has several lines")
    return names, [row[1] for row in rows]


def _ranks(told: Sequence[str], synsets: str | None, where: str) -> list[int]:
    known = sorted(ordered_synsets(synsets) if synsets else set(told))
    if len(known) != CLASSES:
        raise UserError(
            f"{where}: {len(known)} synsets, but a class is a rank among all {CLASSES}; give the whole file, or a file "
            "of the synsets with dataset.synsets=..."
        )
    return _looked_up(told, {synset: rank for rank, synset in enumerate(known)}, where)


def _network_numbers(names: Sequence[str], numbers: Sequence[int], where: str) -> list[int]:
    if max(numbers) >= CLASSES:
        raise UserError(f"{where}: class {max(numbers)}, but networks count 0 to {CLASSES - 1}: not their order")
    if not KNOWN.keys() <= set(names):
        raise UserError(
            f"{where}: in what order these numbers count can only be told with {min(KNOWN)} to {max(KNOWN)} in the "
            "list; give the whole list, or one with synsets"
        )
    return list(numbers)


def _devkit_numbers(numbers: Sequence[int], synsets: str | None, where: str) -> list[int]:
    if min(numbers) < 1 or max(numbers) > CLASSES:
        raise UserError(f"{where}: numbers without names must be the devkit's, 1 to {CLASSES}; give a list with names")
    if not synsets:
        raise UserError(
            f"dataset.synsets is not set: {where} holds the devkit's class numbers, which are in another order than "
            "the networks'; give the devkit's data/meta.mat, dataset.synsets=/path/to/meta.mat"
        )
    order = ordered_synsets(synsets)
    if order == sorted(order):
        raise UserError(
            f"dataset.synsets={synsets}: these synsets are sorted, but the devkit numbers its classes in another "
            "order; give its data/meta.mat"
        )
    rank = {synset: number for number, synset in enumerate(sorted(order))}
    return [rank[order[number - 1]] for number in numbers]


def _looked_up(told: Iterable[str], rank: Mapping[str, int], where: str) -> list[int]:
    try:
        return [rank[synset] for synset in told]
    except KeyError as error:
        raise UserError(f"{where}: synset {error.args[0]} is not in dataset.synsets") from error


def _meta(path: str) -> list[str]:
    """Of meta.mat, the synsets with the class numbers 1 to 1000; the inner nodes of the hierarchy have higher ones."""
    try:
        rows: Any = loadmat(Path(str(path)).expanduser(), squeeze_me=True)["synsets"]
        by_number = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
        return [by_number[number] for number in range(1, CLASSES + 1)]
    except Exception as error:  # scipy raises almost anything on a broken file
        raise UserError(
            f"dataset.synsets={path}: not the devkit's meta.mat ({type(error).__name__}: {error})"
        ) from error


def _text(path: str, key: str) -> str:
    try:
        return Path(str(path)).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key}={path}: cannot be read as text ({error})") from error

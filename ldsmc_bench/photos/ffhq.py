"""Flickr-Faces-HQ (Karras et al. 2019): 70,000 faces, of which the validation pictures are measured."""

from collections.abc import Sequence
from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos import ids
from ldsmc_bench.photos.folder import listed
from ldsmc_bench.problem.datasets import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg")
PICTURES, VALIDATION = 70_000, 10_000


def ffhq(
    root: str | None,
    split: str,
    validation: str,
    names: str | None,
    n_images: int,
    image_size: int,
    collection: str | None = None,
) -> Dataset:
    """The `test` or the `tuning` pictures of FFHQ; `root` holds 69123.png or, as published, 69000/69123.png (or jpg),
    at least for the first `n_images` of them.

    `validation` names the pictures that are not for training: `last10k`, those from 60000 on, as the data set's authors
    have it; or `taming`, those of Esser et al. 2021, which the CompVis priors have not seen: `names` is then the file
    of their names. Raises UserError for anything else and without a root.
    """
    return listed("ffhq", root, _ids(split, validation, names), _places, n_images, image_size, collection=collection)


def _ids(split: str, validation: str, names: str | None) -> list[str]:
    if validation == "last10k":
        if names:
            raise UserError(f"dataset.list={names}: goes with dataset.validation=taming, not with last10k")
        return ids.read_ids("ffhq", split)
    if validation != "taming":
        raise UserError(f"dataset.validation={validation}: must be last10k or taming")
    if not names:
        raise UserError(
            "dataset.list is not set: dataset.validation=taming needs the file data/ffhqvalidation.txt of the "
            "taming-transformers repository, dataset.list=/path/to/ffhqvalidation.txt"
        )
    return ids.draw(read_names(names), split)


def read_names(names: str) -> list[str]:
    """The 10,000 ids of a file with one name a line (69123.png). Raises UserError for any other file."""
    try:
        lines = Path(str(names)).expanduser().read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dataset.list={names}: cannot be read as a list of names ({error})") from error
    found = dict.fromkeys(Path(line).stem for line in lines)
    odd = next((name for name in found if not (len(name) == 5 and name.isdecimal() and int(name) < PICTURES)), None)
    if odd is not None:
        raise UserError(f"dataset.list={names}: {odd!r} is no picture of FFHQ (00000.png to 69999.png)")
    if len(found) != VALIDATION:
        raise UserError(f"dataset.list={names}: {len(found)} names, but the validation split has {VALIDATION}")
    return list(found)


def _places(image_id: str) -> Sequence[str]:
    thousand = f"{image_id[:2]}000"
    return [f"{folder}{image_id}{suffix}" for suffix in SUFFIXES for folder in ("", f"{thousand}/")]

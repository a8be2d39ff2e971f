"""The measured pictures of FFHQ and of ImageNet: a fixed draw from their validation pictures, in conf/dataset/ids."""

import hashlib
from collections.abc import Iterable

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF

LISTS = CONF / "dataset" / "ids"
SEED = 0
SPLITS = {"test": 1024, "tuning": 64}  # 1024: LD-SMC sec. 5.1, whose own list is not published


def draw(ids: Iterable[str], split: str) -> list[str]:
    """The `test` or the `tuning` ids among `ids`, which are never the same, in random order: any first part of them is
    a random sample too. The order is by the SHA-256 of `SEED/id`, so it depends on no library's generator and an id
    keeps its place whatever the others are. Raises UserError for another split."""
    _require(split)
    order = sorted(ids, key=lambda image_id: hashlib.sha256(f"{SEED}/{image_id}".encode()).digest())
    start = {"test": 0, "tuning": SPLITS["test"]}[split]
    return order[start : start + SPLITS[split]]


def read_ids(dataset: str, split: str) -> list[str]:
    """The list in conf/dataset/ids. Raises UserError for another split."""
    _require(split)
    lines = (LISTS / f"{dataset}_{split}.txt").read_text().splitlines()
    return [image_id for line in lines if not line.startswith("#") for image_id in line.split()]


def _require(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"dataset.split={split}: must be {' or '.join(SPLITS)}")

"""Which pictures of FFHQ and of ImageNet are measured: a fixed draw from their validation pictures.

The lists are kept in conf/dataset/ids; `python -m ldsmc_bench.problem.ids` writes them anew, always the same.
"""

import argparse
import hashlib
import textwrap
from collections.abc import Iterable
from pathlib import Path

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError

LISTS = CONF / "dataset" / "ids"
SEED = 0
SPLITS = {"test": 1024, "tuning": 64}  # 1024: LD-SMC sec. 5.1, whose own list is not published
VALIDATION = {
    "ffhq": [f"{number:05d}" for number in range(60_000, 70_000)],
    "imagenet": [f"ILSVRC2012_val_{number:08d}" for number in range(1, 50_001)],
}


def draw(ids: Iterable[str], split: str) -> list[str]:
    """The `test` or the `tuning` ids among `ids`, which are never the same, in random order: any first part of them is
    a random sample too. The order is by the SHA-256 of `SEED/id`, so it depends on no library's generator and an id
    keeps its place whatever the others are. Raises UserError for another split."""
    _require(split)
    order = sorted(ids, key=lambda image_id: hashlib.sha256(f"{SEED}/{image_id}".encode()).digest())
    start = {"test": 0, "tuning": SPLITS["test"]}[split]
    return order[start : start + SPLITS[split]]


def kept(dataset: str, split: str) -> list[str]:
    """The list in conf/dataset/ids. Raises UserError for another split."""
    _require(split)
    lines = (LISTS / f"{dataset}_{split}.txt").read_text().splitlines()
    return [image_id for line in lines if not line.startswith("#") for image_id in line.split()]


def _require(split: str) -> None:
    if split not in SPLITS:
        raise UserError(f"dataset.split={split}: must be {' or '.join(SPLITS)}")


def write(folder: Path) -> None:
    """All lists, as text: a comment, then ids row by row in the order of the draw."""
    for dataset, validation in VALIDATION.items():
        for split, size in SPLITS.items():
            ids = draw(validation, split)
            comment = (
                f"# {size} of {validation[0]} to {validation[-1]}, seed {SEED}, made by: "
                "python -m ldsmc_bench.problem.ids"
            )
            (folder / f"{dataset}_{split}.txt").write_text(f"{comment}\n{textwrap.fill(' '.join(ids), 119)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.problem.ids", description=__doc__)
    parser.add_argument("--out", type=Path, default=LISTS, help="the folder for the lists (default: conf/dataset/ids)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    write(out)
    print(out)


if __name__ == "__main__":
    main()

"""Draws a sheet of faces: `python -m ldsmc_bench.problem.toyfaces --sheet out.png`."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.toyfaces import SIZE, SPLITS, draw, ids

ZOOM = 2
GAP = 4


def sheet(image_ids: Sequence[str]) -> Image.Image:
    """The faces side by side at twice their size, in a grid as square as can be."""
    columns = math.ceil(math.sqrt(len(image_ids)))
    rows = math.ceil(len(image_ids) / columns)
    cell = ZOOM * SIZE + GAP
    page = Image.new("RGB", (columns * cell + GAP, rows * cell + GAP), (255, 255, 255))
    for number, image_id in enumerate(image_ids):
        row, column = divmod(number, columns)
        large = draw(image_id).resize((ZOOM * SIZE, ZOOM * SIZE), Image.Resampling.BICUBIC)
        page.paste(large, (GAP + column * cell, GAP + row * cell))
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 1 with one clear line for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ldsmc_bench.problem.toyfaces", description="Draw a sheet of toyfaces."
    )
    parser.add_argument("--sheet", type=Path, required=True, help="the picture to write, e.g. out.png")
    parser.add_argument("--split", default="test", help=f"one of {', '.join(SPLITS)} (default: test)")
    parser.add_argument("--start", type=int, default=0, help="number of the first face (default: 0)")
    parser.add_argument("--count", type=int, default=64, help="how many faces (default: 64)")
    wanted = parser.parse_args(arguments)
    try:
        size = len(ids(wanted.split))
        if wanted.count < 1 or not 0 <= wanted.start <= size - wanted.count:
            raise UserError(f"--start {wanted.start} --count {wanted.count} leaves the {size} faces of {wanted.split}")
        page = sheet(ids(wanted.split)[wanted.start : wanted.start + wanted.count])
        try:
            page.save(wanted.sheet)
        except (OSError, ValueError) as problem:
            raise UserError(f"--sheet {wanted.sheet} cannot be written: {problem}") from problem
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(wanted.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

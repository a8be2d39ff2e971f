"""Draw a sheet of faces: `python -m ldsmc_bench faces sheet=out.png`."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.toyfaces import SPLITS, ids
from ldsmc_bench.toyfaces.training import render


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the faces at twice their size, in a grid as square as can be; returns the exit status."""
    parser = Options("faces", "Draw a sheet of toyfaces.")
    parser.add_argument("--sheet", type=Path, required=True, help="the picture to write, e.g. out.png")
    parser.add_argument("--split", default="test", help=f"one of {', '.join(SPLITS)} (default: test)")
    parser.add_argument("--start", type=int, default=0, help="number of the first face (default: 0)")
    parser.add_argument("--count", type=int, default=64, help="how many faces (default: 64)")
    wanted = parser.read(arguments)
    size = len(ids(wanted.split))
    if wanted.count < 1 or not 0 <= wanted.start <= size - wanted.count:
        raise UserError(f"--start {wanted.start} --count {wanted.count} leaves the {size} faces of {wanted.split}")
    faces = render(ids(wanted.split)[wanted.start : wanted.start + wanted.count])
    grid = to_pil_image(make_grid(faces, nrow=math.ceil(math.sqrt(len(faces))), padding=2, pad_value=255))
    try:
        grid.resize((2 * grid.width, 2 * grid.height)).save(wanted.sheet)
    except (OSError, ValueError) as problem:  # the latter for an unknown ending
        raise UserError(f"--sheet {wanted.sheet} cannot be written: {problem}") from problem
    print(wanted.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

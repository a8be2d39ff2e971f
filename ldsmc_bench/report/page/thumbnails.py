"""Pictures as a page can hold them by the ten thousand: sheets of 64 small ones, each made once."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ldsmc_bench.records.publish import replace

ACROSS, BLOCK = 8, 64  # small pictures in a row of a sheet, and in a sheet
LARGEST = 128  # side of a small picture, pixels
FORMAT = "1"  # raise it when a sheet is made otherwise than before


def blocks(names: Sequence[str]) -> list[Sequence[str]]:
    """Names by sheets, in their order."""
    return [names[start : start + BLOCK] for start in range(0, len(names), BLOCK)]


def sheet_name(content: Iterable[str], tile: int) -> str:
    """The file of the sheet of pictures of side `tile` that `content` tells from all others."""
    text = "\n".join([FORMAT, str(tile), *content])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.webp"


def make_sheet(
    path: Path, names: Sequence[str], pictures: Mapping[str, NDArray[np.uint8]], tile: int, quality: int
) -> None:
    """Write the sheet of the pictures `names`, in rows of 8 from the left top.

    Each is uint8 (H,W,3) of any size and becomes `tile` x `tile`; one that `pictures` has not stays black.
    """
    sheet = Image.new("RGB", (ACROSS * tile, -(-len(names) // ACROSS) * tile))
    for i, name in enumerate(names):
        if name in pictures:
            sheet.paste(_sized(Image.fromarray(pictures[name]), tile), (i % ACROSS * tile, i // ACROSS * tile))
    file = io.BytesIO()
    sheet.save(file, format="WEBP", quality=quality, method=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, file.getvalue())


def clean(folder: Path, wanted: Iterable[Path]) -> None:
    """Remove the sheets under `folder` that are of no use any more, and the folders that are empty then."""
    kept = set(wanted)
    for path in set(folder.glob("*/*.webp")) - kept:
        path.unlink(missing_ok=True)
    for inner in folder.glob("*/"):
        if not any(inner.iterdir()):
            inner.rmdir()


def _sized(picture: Image.Image, tile: int) -> Image.Image:
    """Enlarged pixel by pixel, so that a coarse measurement looks coarse; made smaller by averaging."""
    enlarged = max(picture.size) <= tile
    return picture.resize((tile, tile), Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX)

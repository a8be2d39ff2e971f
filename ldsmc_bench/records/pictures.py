"""Pictures and arrays as files: the same bytes for the same content."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ldsmc_bench.files import pixel_digest


def png(image: NDArray[np.uint8], colours: tuple[int, ...] = (3,)) -> bytes:
    """The file of a picture, uint8 (H,W,*colours). Raises ValueError for any other array."""
    if image.dtype != np.uint8 or image.ndim < 2 or image.shape[2:] != colours:
        raise ValueError(f"a picture is uint8 {('H', 'W', *colours)}, not {image.dtype} {image.shape}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def files_of(path: Path, picture: NDArray[np.uint8]) -> dict[Path, bytes]:
    """The files of a picture (H,W,C): the PNG `path`, and where it has neither one nor three channels, an `.npy` beside
    it with all of them, of which the PNG is a preview. Raises ValueError for any other array."""
    if picture.ndim != 3:
        raise ValueError(f"a picture is uint8 ('H', 'W', 'C'), not {picture.dtype} {picture.shape}")
    if picture.shape[2] == 1:
        return {path: png(picture[..., 0], ())}
    whole = {} if picture.shape[2] == 3 else {path.with_suffix(".npy"): npy(picture)}
    return {**whole, path: png(rgb(picture))}


def rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H,W,3) to show a picture (H,W,C) or grey (H,W): its first, middle and last channel."""
    whole = np.atleast_3d(picture)
    return whole if whole.shape[2] == 3 else whole[..., [0, whole.shape[2] // 2, -1]]


def read_pixels(path: Path) -> NDArray[np.uint8] | None:
    """The picture (H,W,C) of the files that `files_of` names; None where it is absent or damaged."""
    try:
        if (whole := path.with_suffix(".npy")).exists():
            return np.load(whole)
    except (OSError, ValueError):
        return None
    picture = read_png(path)
    return None if picture is None else np.atleast_3d(picture)


def is_truth(picture: NDArray[np.uint8], digest: str | None) -> bool:
    """True if a picture (H,W,C) has the `digest` that a record gives for its truth, or the record gives none."""
    return digest in (None, pixel_digest(picture.transpose(2, 0, 1)))


def read_png(path: Path) -> NDArray[np.uint8] | None:
    """The picture of a file; None where it is absent or damaged."""
    try:
        with Image.open(path) as picture:
            return np.array(picture if picture.mode == "L" else picture.convert("RGB"))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for some damaged files
        return None

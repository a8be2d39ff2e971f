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


def is_truth(picture: NDArray[np.uint8], digest: str | None) -> bool:
    """True if a picture (H,W,3) has the `digest` that a record gives for its truth, or the record gives none."""
    return digest in (None, pixel_digest(picture.transpose(2, 0, 1)))


def read_png(path: Path) -> NDArray[np.uint8] | None:
    """The picture of a file; None where it is absent or damaged."""
    try:
        with Image.open(path) as picture:
            return np.array(picture if picture.mode == "L" else picture.convert("RGB"))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for some damaged files
        return None

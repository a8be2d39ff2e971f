"""Picture files as the square images that a prior takes."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ldsmc_bench.errors import UserError

TRANSFORM = "8-bit RGB, short side resized (bicubic, antialiased), centre crop"  # part of a run's identity
LONGEST = 16  # times the short side; more of the long side is cut off first, far from the centre that is kept
# Pictures may be of any size: Pillow's limit guards against strangers' files, and these are the user's own.
Image.MAX_IMAGE_PIXELS = None


def read(source: Path | BinaryIO, side: int, name: str = "") -> Tensor:
    """(3,side,side) float32 in [-1,1], from a picture of any size, mode and orientation; `name` is for messages.

    Its EXIF orientation is applied, transparent parts become white, grey becomes RGB, 16 bits become 8, an animation
    is its first frame. Sizes and offsets are rounded as by torchvision's Resize and CenterCrop, which the public codes
    use (LD-SMC among them). Raises UserError, naming the file, where it cannot be read.
    """
    try:
        with Image.open(source) as picture:
            return fit(ImageOps.exif_transpose(picture), side)
    except Exception as error:  # Pillow's decoders raise almost anything on a broken file
        raise UserError(f"{name or source}: this image cannot be read ({error}); repair or remove it") from error


def fit(picture: Image.Image, side: int) -> Tensor:
    """A picture of any size and mode, as `read` makes it."""
    return tensor(_square(_rgb(picture), side))


def tensor(pixels: np.ndarray) -> Tensor:
    """(S,S,3) uint8 -> (3,S,S) float32 in [-1,1]."""
    return torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1).contiguous() / 127.5 - 1


def _square(picture: Image.Image, side: int) -> np.ndarray:
    """(side,side,3) uint8."""
    short = min(picture.size)
    if max(picture.size) > LONGEST * short:  # resized whole, a sliver of few bytes would fill the memory
        across, down = ((length - min(length, LONGEST * short)) // 2 for length in picture.size)
        picture = picture.crop((across, down, picture.width - across, picture.height - down))
    width, height = (side * length // short for length in picture.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        picture = Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")

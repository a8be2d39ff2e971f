"""Picture files as the images that a prior takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ldsmc_bench.errors import UserError

TRANSFORM = "8-bit RGB, short side resized (bicubic, antialiased), centre crop"  # part of a run's identity
Size = int | Sequence[int]  # a side, or height and width
LONGEST = 16  # times the short side; more of the long side is cut off first, far from the centre that is kept
# Pictures may be of any size: Pillow's limit guards against strangers' files, and these are the user's own.
Image.MAX_IMAGE_PIXELS = None


def sides(size: Size) -> tuple[int, int]:
    """Height and width. Raises UserError for anything but one or two whole numbers above 0."""
    both = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(both) != 2 or not all(type(side) is int and side > 0 for side in both):
        raise UserError(f"prior.image_size={size}: must be a side in pixels, or two, [height,width]")
    return both[0], both[1]


def read(source: Path | BinaryIO, size: Size, channels: int = 3, name: str = "") -> Tensor:
    """(C,H,W) float32 in [-1,1] from a picture of any size, mode and orientation; `size` is a side, or height and
    width, and a picture of one channel is grey. `name` is for messages.

    Its EXIF orientation is applied, transparent parts become white, grey becomes RGB, 16 bits become 8, an animation
    is its first frame. Sizes and offsets are rounded as by torchvision's Resize and CenterCrop, which the public codes
    use (LD-SMC among them). Raises UserError, naming the file, where it cannot be read.
    """
    try:
        with Image.open(source) as picture:
            return fit(ImageOps.exif_transpose(picture), size, channels)
    except Exception as error:  # Pillow's decoders raise almost anything on a broken file
        raise UserError(f"{name or source}: this image cannot be read ({error}); repair or remove it") from error


def fit(picture: Image.Image, size: Size, channels: int = 3) -> Tensor:
    """A picture of any size and mode, as `read` makes it."""
    return tensor(_fit(_rgb(picture).convert("L" if channels == 1 else "RGB"), *sides(size)))


def tensor(pixels: np.ndarray) -> Tensor:
    """(H,W,C) or grey (H,W) uint8 -> (C,H,W) float32 in [-1,1]."""
    return torch.tensor(np.atleast_3d(pixels), dtype=torch.float32).permute(2, 0, 1).contiguous() / 127.5 - 1


def _fit(picture: Image.Image, high: int, wide: int) -> np.ndarray:
    """(high,wide,3) or grey (high,wide) uint8."""
    short = min(picture.size)
    if max(picture.size) > LONGEST * short:  # resized whole, a sliver of few bytes would fill the memory
        across, down = ((length - min(length, LONGEST * short)) // 2 for length in picture.size)
        picture = picture.crop((across, down, picture.width - across, picture.height - down))
    (w, h), narrow = picture.size, high * picture.width <= wide * picture.height
    width, height = (wide, wide * h // w) if narrow else (high * w // h, high)
    left, top = round((width - wide) / 2), round((height - high) / 2)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + wide, top + high)))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        picture = Image.fromarray(np.round(np.asarray(picture) / 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")

"""A PNG sheet of pictures side by side: a row for each image, a column each for truth, measurement and every run."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.nonlinear import PhaseRetrieval
from ldsmc_bench.records.publish import replace, writing

ROWS = 8
MARGIN = 6
CAPTION = 22
PAPER, INK, ABSENT = (255, 255, 255), (20, 20, 20), (225, 225, 225)

Pictures = Tensor | Sequence[Tensor | None]


def save_sheet(path: Path, columns: Mapping[str, Pictures], *, scale: int = 3) -> Path:
    """Write the sheet of the first 8 images and return its path.

    `columns` maps each caption, left to right, to its pictures, uint8 (3, h, w); None is drawn as a grey field that
    says "failed". Every picture is enlarged by nearest pixels to `scale` times the size of the first column's. Raises
    UserError when the file cannot be written, ValueError when the columns are of different lengths.
    """
    if len({len(pictures) for pictures in columns.values()}) != 1:
        raise ValueError(f"columns of different lengths: { {caption: len(p) for caption, p in columns.items()} }")
    pictures = {caption: list(column)[:ROWS] for caption, column in columns.items()}
    height, width = (scale * side for side in _size(next(iter(pictures.values()))))
    rows = len(next(iter(pictures.values())))
    sheet = Image.new(
        "RGB", (MARGIN + len(pictures) * (width + MARGIN), CAPTION + MARGIN + rows * (height + MARGIN)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for j, (caption, column) in enumerate(pictures.items()):
        left = MARGIN + j * (width + MARGIN)
        draw.text((left + width / 2, MARGIN), caption, INK, _font(draw, caption, width), anchor="mt")
        for i, picture in enumerate(column):
            corner = (left, CAPTION + MARGIN + i * (height + MARGIN))
            sheet.paste(_field(width, height) if picture is None else _enlarged(picture, width, height), corner)
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, file.getvalue())
    return path


def measurement_pictures(measurement: Measurement) -> Tensor:
    """uint8 pictures (B, 3, h, w) of y: clipped to [-1, 1], mid grey where it carries no information.

    One channel is shown as grey. Of magnitudes, which span orders, the logarithm is shown, from the noise's level (or
    a thousandth of the largest) in black to the largest of an image in white.
    """
    y = measurement.y.float().cpu()
    if isinstance(measurement.operator, PhaseRetrieval):
        largest = y.amax(dim=(1, 2, 3), keepdim=True)
        floor = torch.clamp(largest / 1000, min=max(float(measurement.noise_std), 1e-6)).minimum(largest / 2)
        y = 2 * torch.log(y.clamp(min=1e-12) / floor) / torch.log(largest / floor) - 1
    observed = measurement.operator.observed()
    if observed is not None:
        y = torch.where(observed.cpu().expand_as(y) > 0, y, 0.0)
    return ((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)


def _size(pictures: Sequence[Tensor | None]) -> tuple[int, int]:
    height, width = next(picture for picture in pictures if picture is not None).shape[-2:]
    return height, width


def _enlarged(picture: Tensor, width: int, height: int) -> Image.Image:
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def _field(width: int, height: int) -> Image.Image:
    field = Image.new("RGB", (width, height), ABSENT)
    ImageDraw.Draw(field).text((width / 2, height / 2), "failed", INK, ImageFont.load_default(size=14), anchor="mm")
    return field


def _font(draw: ImageDraw.ImageDraw, caption: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest legible font in which the caption fits over its column."""
    sizes = (16, 14, 12, 11)
    fonts = [ImageFont.load_default(size=size) for size in sizes]
    return next((font for font in fonts if draw.textlength(caption, font=font) <= width), fonts[-1])

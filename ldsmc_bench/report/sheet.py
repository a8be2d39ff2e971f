"""A PNG sheet of pictures side by side: a row for each image, a column each for truth, measurement and every run."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ldsmc_bench.files import write_file
from ldsmc_bench.records.pictures import rgb

ROWS = 8
WHOLE = 192  # pixels of a picture on the sheet, at least
MARGIN = 6
CAPTION = 22
PAPER, INK, ABSENT = (255, 255, 255), (20, 20, 20), (225, 225, 225)

Pictures = Sequence[NDArray[np.uint8] | str | None]


def save_sheet(path: Path, columns: Mapping[str, Pictures], *, scale: int | None = None) -> Path:
    """Write the sheet of the first 8 images and return its path.

    `columns` maps each caption, left to right, to its pictures, uint8 (h,w,3), or a word in the place of one, such as
    "skipped", on a grey field. Every picture is enlarged by nearest pixels to `scale` times the size of the first
    column's, by default to about 192
    pixels. Raises UserError when the file cannot be written, ValueError when the columns are of different lengths.
    """
    if len({len(pictures) for pictures in columns.values()}) != 1:
        raise ValueError(f"columns of different lengths: { {caption: len(p) for caption, p in columns.items()} }")
    pictures = {caption: list(column)[:ROWS] for caption, column in columns.items()}
    height, width = next(one for one in next(iter(pictures.values())) if isinstance(one, np.ndarray)).shape[:2]
    scale = scale or max(1, WHOLE // max(height, width))
    size, rows = (width * scale, height * scale), len(next(iter(pictures.values())))
    across, down = (side + MARGIN for side in size)
    sheet = Image.new("RGB", (MARGIN + len(pictures) * across, CAPTION + MARGIN + rows * down), PAPER)
    draw = ImageDraw.Draw(sheet)
    for j, (caption, column) in enumerate(pictures.items()):
        left = MARGIN + j * across
        fonts = [ImageFont.load_default(size=points) for points in (16, 14, 12, 11)]
        font = next((font for font in fonts if draw.textlength(caption, font=font) <= size[0]), fonts[-1])
        draw.text((left + size[0] / 2, MARGIN), caption, INK, font, anchor="mt")
        for i, picture in enumerate(column):
            top = CAPTION + MARGIN + i * down
            if isinstance(picture, np.ndarray):
                sheet.paste(Image.fromarray(rgb(picture)).resize(size, Image.Resampling.NEAREST), (left, top))
            else:
                draw.rectangle((left, top, left + size[0] - 1, top + size[1] - 1), ABSENT)
                centre = (left + size[0] / 2, top + size[1] / 2)
                draw.text(centre, picture or "not kept", INK, ImageFont.load_default(size=14), anchor="mm")
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    write_file(path, file.getvalue())
    return path

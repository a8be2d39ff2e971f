from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.problem.problem import measurement_pictures
from ldsmc_bench.report.sheet import ABSENT, CAPTION, INK, MARGIN, PAPER, save_sheet


def noise(count: int, side: int, seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.array(sheet)


def corner(row: int, column: int, size: int) -> tuple[int, int]:
    return CAPTION + MARGIN + row * (size + MARGIN), MARGIN + column * (size + MARGIN)


def test_every_picture_is_in_its_place_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    truths, small, restored = noise(3, 16, 0), noise(3, 4, 1), noise(3, 16, 2)
    path = save_sheet(tmp_path / "sub" / "sheet.png", {"truth": truths, "measurement": small, "N=1": restored}, scale=3)
    sheet = pixels(path)
    for column, (pictures, factor) in enumerate(((truths, 3), (small, 12), (restored, 3))):
        for row in range(3):
            top, left = corner(row, column, 48)
            expected = pictures[row].repeat(factor, 0).repeat(factor, 1)
            np.testing.assert_array_equal(sheet[top : top + 48, left : left + 48], expected)
    assert sheet.shape == (CAPTION + MARGIN + 3 * (48 + MARGIN), MARGIN + 3 * (48 + MARGIN), 3)
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_captions_stand_over_their_columns_and_nothing_else_is_written(tmp_path: Path) -> None:
    pictures = noise(1, 64, 0)
    sheet = pixels(save_sheet(tmp_path / "sheet.png", {"truth": pictures, "": pictures, "N=10": pictures}, scale=2))
    inked = [(sheet[:CAPTION, j * (128 + MARGIN) : (j + 1) * (128 + MARGIN)] != PAPER).any() for j in range(3)]
    assert inked == [True, False, True]
    assert (sheet[:CAPTION] == INK).all(2).any()
    assert (sheet[CAPTION : CAPTION + MARGIN] == PAPER).all()


def test_the_first_eight_images_and_a_field_that_says_why_one_is_absent(tmp_path: Path) -> None:
    pictures = noise(11, 16, 0)
    others = [["failed" if i == 2 else picture for i, picture in enumerate(pictures)], ["skipped"] * 11]
    skipped = pixels(save_sheet(tmp_path / "skipped.png", {"truth": pictures, "N=1": others[1]}, scale=3))
    some = others[0]
    sheet = pixels(save_sheet(tmp_path / "sheet.png", {"truth": pictures, "N=1": some}, scale=3))
    assert sheet.shape[0] == CAPTION + MARGIN + 8 * (48 + MARGIN)
    top, left = corner(2, 1, 48)
    assert tuple(sheet[top, left]) == ABSENT and (sheet[top : top + 48, left : left + 48] == INK).all(2).any()
    assert (sheet[top : top + 48, left : left + 48] != skipped[top : top + 48, left : left + 48]).any()  # another word


def test_columns_must_match_and_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lengths"):
        save_sheet(tmp_path / "sheet.png", {"truth": noise(2, 8, 0), "N=1": noise(1, 8, 0)})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="results_dir"):
        save_sheet(tmp_path / "file" / "sheet.png", {"truth": noise(1, 8, 0)})


def test_a_grey_measurement_is_shown_in_grey_and_any_size_fits_its_column(tmp_path: Path) -> None:
    y = torch.linspace(-1, 1, 24).reshape(1, 1, 4, 6)
    shown = measurement_pictures(Measurement(y, Identity(), 0.1))
    assert shown.shape == (1, 3, 4, 6) and (shown == shown[:, :1]).all()
    columns = {"truth": noise(1, 16, 0), "measurement": list(shown.permute(0, 2, 3, 1).numpy())}
    sheet = pixels(save_sheet(tmp_path / "sheet.png", columns, scale=3))
    top, left = corner(0, 1, 48)
    field = sheet[top : top + 48, left : left + 48]
    assert field[0, 0].tolist() == [0, 0, 0] and field[-1, -1].tolist() == [255, 255, 255]

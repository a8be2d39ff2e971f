"""Folders of odd pictures, and the embedded faces."""

import os
import re
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.photos.folder import folder
from ldsmc_bench.problem import pictures
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.toyfaces import dataset
from tests.commands import configured

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)


def quarters(width: int = 80, height: int = 80) -> Image.Image:
    """Red and green above, blue and black below."""
    picture = Image.new("RGB", (width, height))
    for colour, corner in ((RED, (0, 0)), (GREEN, (width // 2, 0)), (BLUE, (0, height // 2))):
        picture.paste(colour, (*corner, corner[0] + width // 2, corner[1] + height // 2))
    return picture


def load_one(picture: Image.Image, path: Path, side: int = 32, **options: Any) -> Tensor:
    picture.save(path, **options)
    dataset = folder(str(path.parent), side)
    (image_id,) = dataset.ids
    return dataset.load(image_id)


def corners(x: Tensor) -> np.ndarray:
    """The colours in the middle of the four quarters, 0 to 255, rows first."""
    quarter = x.shape[-1] // 4
    places = [(quarter, quarter), (quarter, -quarter), (-quarter, quarter), (-quarter, -quarter)]
    return np.array([(x[:, row, column].numpy() + 1) * 127.5 for row, column in places])


EXPECTED = np.array([RED, GREEN, BLUE, (0, 0, 0)])


@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("RGB", "a.png", 1),
        ("RGB", "a.jpg", 12),
        ("RGB", "a.JPEG", 12),
        ("RGB", "a.WebP", 12),
        ("RGBA", "a.png", 1),
        ("P", "a.png", 30),
        ("CMYK", "a.jpg", 15),
    ],
)
def test_modes_and_suffixes(tmp_path: Path, mode: str, name: str, tolerance: float) -> None:
    x = load_one(quarters().convert(mode), tmp_path / name)
    assert x.shape == (3, 32, 32) and x.dtype == torch.float32 and x.is_contiguous()
    np.testing.assert_allclose(corners(x), EXPECTED, atol=tolerance)


def test_values_are_exact() -> None:
    values = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    x = pictures.tensor(values)
    assert x.min() == -1
    np.testing.assert_array_equal(np.rint((x.numpy() + 1) * 127.5), values.transpose(2, 0, 1))


def test_pictures_of_the_right_size_are_not_changed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    x = load_one(Image.fromarray(pixels), tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint((x.numpy() + 1) * 127.5), pixels.transpose(2, 0, 1))
    assert x.min() >= -1 and x.max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    picture = quarters() if stored is None else quarters().transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_allclose(corners(load_one(picture, tmp_path / "a.png", exif=exif)), EXPECTED, atol=1)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_grey_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        pixels = np.repeat(np.array([[0], [65535]], dtype=np.uint16), 40, axis=0) * np.ones((1, 80), dtype=np.uint16)
        pixels[40:, 40:] = 32768
        picture = Image.fromarray(pixels)
    else:
        picture = Image.new("L", (80, 80))
        picture.paste(255, (0, 40, 80, 80))
        picture = picture.convert(mode)
    found = corners(load_one(picture, tmp_path / "a.png"))
    np.testing.assert_allclose(found[:3], np.array([0, 0, 255])[:, None] * np.ones(3), atol=1e-3)
    np.testing.assert_allclose(found[3], 128 if mode == "I;16" else 255, atol=1)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    clear = quarters().convert("RGBA")
    clear.paste((0, 0, 0, 0), (40, 40, 80, 80))
    np.testing.assert_allclose(corners(load_one(clear, tmp_path / "a.png"))[3], 255)
    palette = quarters().quantize(4)
    index = palette.getpixel((70, 70))
    np.testing.assert_allclose(corners(load_one(palette, tmp_path / "a.png", transparency=index))[3], 255)


@pytest.mark.parametrize(("width", "height"), [(200, 40), (40, 200), (64, 96), (1, 1), (3, 2), (1, 900)])
def test_short_side_is_resized_and_centre_cropped(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    short = min(width, height)
    wide, high = 32 * width // short, 32 * height // short
    left, top = (wide - 32) // 2, (high - 32) // 2
    resized = Image.fromarray(pixels).resize((wide, high), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32))).transpose(2, 0, 1)
    x = load_one(Image.fromarray(pixels), tmp_path / "a.png")
    np.testing.assert_allclose((x.numpy() + 1) * 127.5, expected, atol=1)


@pytest.mark.filterwarnings("error")  # Pillow warns of pictures past 89 million pixels
def test_any_size_is_taken(tmp_path: Path) -> None:
    x = load_one(Image.new("1", (9500, 9500), 1), tmp_path / "a.png")
    assert x.shape == (3, 32, 32) and (x == 1).all()


def test_reduction_is_antialiased(tmp_path: Path) -> None:
    checks = np.indices((512, 512)).sum(0) % 2 * 255
    x = load_one(Image.fromarray(checks.astype(np.uint8)), tmp_path / "a.png")
    assert x.abs().max() < 0.02


def test_ids_are_sorted_unique_and_safe(tmp_path: Path) -> None:
    names = [
        "b.png",
        "a.png",
        "a.jpg",
        "A.webp",
        "sub/a.png",
        "sub_a.png",
        "été 2024.png",
        "猫.png",
        "犬.png",
        "x" * 200 + ".png",
    ]
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    dataset = folder(str(tmp_path), 8)
    assert list(dataset.ids) == sorted(dataset.ids)
    assert len({name.lower() for name in dataset.ids}) == len(names)
    for name in dataset.ids:
        assert 0 < len(name) < 120 and re.fullmatch(r"[A-Za-z0-9_-]+(\.jpg)?", name)
    assert {"a", "a.jpg", "b", "sub_a"} < set(dataset.ids)
    reds = {round(float((dataset.load(name)[0, 0, 0] + 1) * 127.5)) for name in dataset.ids}
    assert len(reds) >= len(names) - 2  # each id loads its own picture (JPEG and WebP may be off by one)
    for name in ("c.png", "B.png", "b.jpg", "sub/a.jpg", "sub a.png"):  # no new picture renames another
        (tmp_path / name).write_bytes((tmp_path / "b.png").read_bytes())
    assert set(dataset.ids) < set(folder(str(tmp_path), 8).ids)


@pytest.mark.parametrize(("width", "height"), [(75, 50), (50, 75), (33, 57), (500, 375), (31, 32), (40, 33)])
def test_the_transform_is_torchvisions_bit_for_bit(tmp_path: Path, width: int, height: int) -> None:
    """Odd sizes too, where rounding decides on the crop."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    usual = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(32)])
    x = load_one(Image.fromarray(pixels), tmp_path / "a.png")
    expected = np.asarray(usual(Image.fromarray(pixels))).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.rint((x.numpy() + 1) * 127.5), expected)


def test_the_digest_follows_the_folder_and_the_size_but_not_the_pictures(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        quarters().save(tmp_path / place / "a.png")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    before = folder(one, 32).digest
    assert folder(two, 32).digest != before
    assert folder(one, 32, "mine").digest == folder(two, 32, "mine").digest != before
    assert folder(one, 64).digest != before
    quarters(90, 90).save(tmp_path / "one" / "a.png")
    quarters().save(tmp_path / "one" / "b.png")
    assert folder(one, 32).digest == before, "exchanged and added pictures are seen by their own digests"


def test_links_are_followed_and_what_is_passed_over_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere" / "deeper"
    for place in (root / "closed", elsewhere):
        place.mkdir(parents=True)
    quarters().save(elsewhere / "b.png")
    quarters().save(root / "a.png")
    (root / "link").symlink_to(elsewhere.parent)
    (elsewhere / "up").symlink_to(root)
    (root / "gone.png").symlink_to("/nowhere/x.png")
    (root / "c.bmp").touch()
    (root / "notes.txt").touch()
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    dataset = folder(str(root), 32)
    assert len(dataset.ids) == 2 and "a" in dataset.ids
    assert all(dataset.load(image_id).shape == (3, 32, 32) for image_id in dataset.ids)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: dataset.root={root}: passed over ")
    for what in ("1 folders that cannot be read (closed)", "lead nowhere (gone.png)", "(c.bmp)"):
        assert what in line


def test_a_folder_that_cannot_be_listed_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(UserError, match="cannot be read"):
        folder(str(tmp_path), 32)


def test_the_state_of_a_file_changes_with_its_content_even_at_one_time_and_size(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), RED).save(path)
    state = folder(str(tmp_path), 8).state
    assert state is not None
    before, times = state("a"), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    assert state("a") == before
    Image.new("RGB", (8, 8), BLUE).save(path)
    os.utime(path, ns=times)
    assert state("a") != before
    path.unlink()
    assert state("a") is None


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 50_000)])
def test_a_sliver_is_not_blown_up_as_a_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 3, size[1] // 3, size[0] - size[0] // 3, size[1] - size[1] // 3))
    tracemalloc.start()
    x = load_one(picture, tmp_path / "a.png", side=64)
    assert tracemalloc.get_traced_memory()[1] < 50e6  # NumPy's share; Pillow would need gigabytes and minutes
    tracemalloc.stop()
    np.testing.assert_allclose(corners(x), np.array([BLUE] * 4), atol=1)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "gone"])
def test_an_unreadable_picture_is_named_and_the_others_load(tmp_path: Path, damage: str) -> None:
    quarters().save(tmp_path / "good.png")
    bad = tmp_path / "bad.jpg"
    quarters(400, 400).save(bad)
    dataset = folder(str(tmp_path), 32)
    whole = bad.read_bytes()
    if damage == "gone":
        bad.unlink()
    else:
        bad.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a picture"}[damage])
    assert list(dataset.ids) == ["bad.jpg", "good"]
    with pytest.raises(UserError, match=r"bad\.jpg: this image cannot be read") as caught:
        dataset.load("bad.jpg")
    assert "\n" not in str(caught.value)
    np.testing.assert_allclose(corners(dataset.load("good")), EXPECTED, atol=1)


def test_a_bad_root_is_named(tmp_path: Path) -> None:
    for root in (None, "", "???", str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(UserError, match=r"^dataset\.root"):
            folder(root, 32)


def test_toyfaces() -> None:
    test, train = dataset.toyfaces(), dataset.toyfaces("train")
    x = test.load(test.ids[0])
    assert x.shape == (3, 64, 64) and x.min() >= -1 and x.max() <= 1 and x.std() > 0.1
    assert not set(test.ids) & set(train.ids)
    assert test.digest != train.digest and test.digest == dataset.toyfaces("test").digest
    assert not torch.equal(x, test.load(test.ids[1]))


def test_a_split_is_a_key_and_another_run() -> None:
    def made_of(*overrides: str) -> tuple[str, str]:
        settings = validate(configured(*overrides))
        dataset = instantiate(settings.config["dataset"]["load"])
        prior: Any = SimpleNamespace(digest="p")
        return dataset.ids[0], run_id(identify(settings.config, dataset, prior))

    (first, test), (other, validation) = made_of(), made_of("dataset.split=validation")
    assert (first, other) == ("test-000000", "validation-000000")
    assert test != validation
    with pytest.raises(UserError, match=r"^dataset\.split=tuning: .*train, validation, test"):
        made_of("dataset.split=tuning")


@pytest.mark.parametrize("size", [16.5, "16", [16, 16, 16], [16, True], {"side": 16}])
def test_a_size_that_cannot_be_is_one_line(tmp_path: Path, size: object) -> None:
    quarters().save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"^prior.image_size=.*: must be a side in pixels, or two"):
        folder(str(tmp_path), size).load("a")  # type: ignore[arg-type]

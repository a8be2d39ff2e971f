"""FFHQ in its layouts, with a few small pictures in place of the 70,000."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos import ids
from ldsmc_bench.photos.ffhq import ffhq, read_names
from ldsmc_bench.problem.datasets import Dataset
from tests.commands import images, records, runs, tiny

FIRST = ids.read_ids("ffhq", "test")[:3]


def put(path: Path, image_id: str, size: tuple[int, int] = (40, 40)) -> Path:
    """A picture with colours of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(image_id)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def flat(root: Path, image_ids: list[str] = FIRST) -> Path:
    for image_id in image_ids:
        put(root / f"{image_id}.png", image_id)
    return root


def published(root: Path) -> Path:
    for image_id in FIRST:
        put(root / f"{image_id[:2]}000" / f"{image_id}.png", image_id)
    return root


def loaded(root: Path, n_images: int = 3, split: str = "test", side: int = 32) -> Dataset:
    return ffhq(str(root), split, "last10k", None, n_images, side, collection="ffhq")


def test_ids_are_the_list_whatever_else_lies_there(tmp_path: Path) -> None:
    put(flat(tmp_path) / "00001.png", "1")
    dataset = loaded(tmp_path)
    assert dataset.name == "ffhq"
    assert list(dataset.ids) == ids.read_ids("ffhq", "test")
    assert dataset.labels is None
    tuning = flat(tmp_path / "tuning", ids.read_ids("ffhq", "tuning")[:3])
    assert list(loaded(tuning, split="tuning").ids) == ids.read_ids("ffhq", "tuning")


def test_both_layouts_and_jpeg_are_the_same_data_set(tmp_path: Path) -> None:
    one, two = loaded(flat(tmp_path / "flat")), loaded(published(tmp_path / "published"))
    for image_id in FIRST:
        assert torch.equal(one.load(image_id), two.load(image_id))
    assert not torch.equal(one.load(FIRST[0]), one.load(FIRST[1]))
    (tmp_path / "jpeg").mkdir()
    for image_id in FIRST:
        Image.new("RGB", (50, 40), (200, 30, 60)).save(tmp_path / "jpeg" / f"{image_id}.jpg")
    three = loaded(tmp_path / "jpeg")
    expected = torch.tensor([200, 30, 60])[:, None, None].expand(3, 32, 32) / 127.5 - 1
    torch.testing.assert_close(three.load(FIRST[2]), expected, rtol=0, atol=0.03)
    assert one.digest == two.digest == three.digest


def test_a_picture_is_reduced_as_pillow_does_it(tmp_path: Path) -> None:
    path = put(tmp_path / f"{FIRST[0]}.png", FIRST[0], size=(96, 64))
    resized = Image.open(path).resize((32, 48), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((0, 8, 32, 40))).transpose(2, 0, 1)
    x = loaded(tmp_path, n_images=1).load(FIRST[0])
    np.testing.assert_array_equal(np.rint((x.numpy() + 1) * 127.5), expected)


def test_another_folder_is_another_data_set_unless_both_have_one_name(tmp_path: Path) -> None:
    one, two = (str(flat(tmp_path / place)) for place in ("one", "two"))
    digest = ffhq(one, "test", "last10k", None, 3, 32).digest
    assert ffhq(two, "test", "last10k", None, 3, 32).digest != digest
    assert ffhq(f"{two}/../one/", "test", "last10k", None, 3, 32).digest == digest


def test_the_digest_follows_ids_and_size_and_nothing_else(tmp_path: Path) -> None:
    root = flat(tmp_path / "one")
    flat(root, ids.read_ids("ffhq", "tuning")[:1])
    before = loaded(root).digest
    assert loaded(root, side=64).digest != before
    assert loaded(root, n_images=1, split="tuning").digest != before
    put(root / f"{FIRST[0]}.png", "7", size=(90, 90))
    (root / f"{FIRST[2]}.png").unlink()
    assert loaded(root, n_images=2).digest == before


def test_only_the_pictures_asked_for_have_to_be_there(tmp_path: Path) -> None:
    root = flat(tmp_path)
    loaded(root, n_images=3)
    with pytest.raises(UserError) as caught:
        loaded(root, n_images=1024)
    fourth = ids.read_ids("ffhq", "test")[3]
    assert str(caught.value).startswith(f"dataset.root={root}: 1021 of 1024 pictures are missing")
    assert f"{fourth}.png or {fourth[:2]}000/{fourth}.png" in str(caught.value)
    (root / f"{FIRST[1]}.png").unlink()
    with pytest.raises(UserError, match=f"1 of 3 pictures are missing, the first of them {FIRST[1]}"):
        loaded(root, n_images=3)
    with pytest.raises(UserError, match=f"{FIRST[1]} is missing"):
        loaded(root, n_images=1).load(FIRST[1])


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A list in the style of taming-transformers: 10,000 of the 70,000."""
    path = tmp_path / "ffhqvalidation.txt"
    path.write_text("".join(f"{number:05d}.png\n" for number in range(3, 70_000, 7)))
    return path


def test_the_taming_split_is_drawn_from_its_list(tmp_path: Path, names: Path) -> None:
    every = {f"{number:05d}" for number in range(3, 70_000, 7)}
    assert set(read_names(str(names))) == every
    test, tuning = (ids.draw(every, split) for split in ("test", "tuning"))
    flat(tmp_path, [test[0], tuning[0]])
    made = {split: ffhq(str(tmp_path), split, "taming", str(names), 1, 32) for split in ("test", "tuning")}
    assert list(made["test"].ids) == test and set(test) < every
    assert list(made["tuning"].ids) == tuning and not set(tuning) & set(test)
    assert (len(test), len(tuning)) == (1024, 64)
    flat(tmp_path)
    assert len({made["test"].digest, made["tuning"].digest, loaded(tmp_path).digest}) == 3


def test_a_list_may_name_folders_and_come_in_any_order(names: Path) -> None:
    before = ids.draw(read_names(str(names)), "test")
    lines = names.read_text().split()
    names.write_text("\n".join(f"{line[:2]}000/{line}" for line in reversed(lines)))
    assert ids.draw(read_names(str(names)), "test") == before


@pytest.mark.parametrize(
    ("validation", "text", "said"),
    [
        ("taming", None, r"^dataset\.list is not set: .*ffhqvalidation\.txt"),
        ("taming", "00001.png\n00002.png\n", r"^dataset\.list=.*: 2 names, but the validation split has 10000"),
        ("taming", "70000.png\n", r"^dataset\.list=.*: '70000' is no picture of FFHQ"),
        ("taming", "face.png\n", r"^dataset\.list=.*: 'face' is no picture of FFHQ"),
        ("last10k", "00001.png\n", r"^dataset\.list=.*: goes with dataset\.validation=taming"),
        ("first1k", None, r"^dataset\.validation=first1k: must be last10k or taming"),
    ],
)
def test_a_wrong_choice_is_named(tmp_path: Path, validation: str, text: str | None, said: str) -> None:
    listed = tmp_path / "list.txt"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(UserError, match=said):
        ffhq(str(flat(tmp_path)), "test", validation, str(listed) if text else None, 3, 32)


def test_a_run_on_a_folder_in_the_published_layout_names_what_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    root = published(tmp_path / "faces")
    overrides = ("dataset=ffhq", f"dataset.root={root}", "dataset.collection=mine", "prior=ldm_toyfaces", "particles=1")
    done = tiny(tmp_path, *overrides, "n_images=4")
    assert done.code == 2
    (line,) = done.errors
    assert "1 of 4 pictures are missing" in line and ids.read_ids("ffhq", "test")[3] in line
    assert runs(tmp_path) == []

    done = tiny(tmp_path, *overrides, "n_images=2")
    assert (done.code, done.errors) == (0, [])
    (run,) = runs(tmp_path)
    assert records(run).keys() == images(run).keys() == set(FIRST[:2])
    assert {record["dataset"] for record in records(run).values()} == {"ffhq"}

    moved = Path(shutil.move(root, tmp_path / "elsewhere"))
    done = tiny(tmp_path, *overrides, f"dataset.root={moved}", "n_images=3")
    assert (done.code, done.errors) == (0, [])
    assert runs(tmp_path) == [run] and records(run).keys() == set(FIRST), "more images fill in the same run"

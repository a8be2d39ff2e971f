"""Arrays, tables and tars of pictures, as their own libraries write them.

The tables and the tar in tests/fixtures/containers were written by datasets 5.2 and webdataset 1.0.2, by
`python -m tests.problem.test_containers`.
"""

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos.arrays import arrays
from ldsmc_bench.photos.containers import table, tars
from ldsmc_bench.photos.folder import folder
from ldsmc_bench.problem.datasets import Dataset
from tests.commands import command

FIXTURES = Path(__file__).parent.parent / "fixtures" / "containers"
SIDE = 8
CLASSES = [3, 1, 4, 1, 5]


def drawn(number: int) -> np.ndarray:
    """A picture (S,S,3) of its own, uint8."""
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def as_truth(pixels: np.ndarray) -> Tensor:
    """(S,S,3) uint8 as (3,S,S) in [-1,1]."""
    return torch.tensor(pixels).permute(2, 0, 1) / 127.5 - 1


def assert_pictures(dataset: Dataset, ids: list[str], labels: list[int] | None = CLASSES) -> None:
    """The drawn pictures under these ids, in the order of their classes."""
    assert list(dataset.ids) == ids
    for number, image_id in enumerate(ids):
        torch.testing.assert_close(dataset.load(image_id), as_truth(drawn(number)))
    assert dataset.labels == (None if labels is None else dict(zip(ids, labels, strict=True)))


PIXELS = np.stack([drawn(number) for number in range(5)])


@pytest.mark.parametrize(
    "images",
    [PIXELS, PIXELS.transpose(0, 3, 1, 2), (PIXELS / 255).astype(np.float32), PIXELS.transpose(0, 3, 1, 2) / 255],
    ids=["bytes", "channels first", "floats", "floats, channels first"],
)
def test_an_array_of_any_layout_holds_its_pictures(tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", images)
    assert_pictures(arrays(str(tmp_path / "x.npy"), SIDE, 3), list("01234"), None)


def test_an_archive_of_arrays_has_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=CLASSES)
    assert_pictures(arrays(str(tmp_path / "x.npz"), SIDE, 3), list("01234"))


@pytest.mark.parametrize("shape", [(2, SIDE, SIDE), (2, SIDE, SIDE, 1), (2, 1, SIDE, SIDE)])
def test_grey_arrays_become_colour(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    np.save(tmp_path / "x.npy", grey.reshape(shape))
    expected = torch.tensor(grey[1]).expand(3, -1, -1) / 127.5 - 1
    torch.testing.assert_close(arrays(str(tmp_path / "x.npy"), SIDE, 3).load("1"), expected)


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (PIXELS.astype(np.int32), "its type is int32; give uint8, or floats in [0,1]"),
        (PIXELS[0, 0], "its shape is (8, 3); give"),
        (np.zeros((2, 8, 8, 4), np.uint8), "its shape is (2, 8, 8, 4); give"),
        (PIXELS[:0], "its shape is (0, 8, 8, 3); give"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, images: np.ndarray, line: str) -> None:
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(UserError, match=r"^dataset\.root=.*x\.npy: ") as raised:
        arrays(str(tmp_path / "x.npy"), SIDE, 3)
    assert line in str(raised.value)


def test_a_stack_for_a_prior_of_other_channels_is_refused_with_what_serves(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 8, 8), np.float32))
    with pytest.raises(UserError, match=r"images 4; give a folder of \.npy"):
        arrays(str(tmp_path / "x.npy"), SIDE, 4)


def test_floats_of_another_range_are_refused_when_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", PIXELS / 127.5 - 1)
    with pytest.raises(UserError, match=r"picture 0 has values outside \[0,1\]"):
        arrays(str(tmp_path / "x.npy"), SIDE, 3).load("0")


@pytest.mark.parametrize("labels", [3, [3, 1], [[3]] * 5, [3, 1, 4, 1, 5, 9]])
def test_another_number_of_classes_than_pictures_is_refused(tmp_path: Path, labels: object) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=labels)
    with pytest.raises(UserError, match=r"^dataset=arrays: labels of shape .* for 5 pictures; "):
        arrays(str(tmp_path / "x.npz"), SIDE, 3)


def test_no_file_and_no_array_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root is not set"):
        arrays(None, SIDE, 3)
    with pytest.raises(UserError, match="no such folder"):
        arrays(str(tmp_path / "x.npy"), SIDE, 3)
    (tmp_path / "x.npz").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"x\.npz: cannot be read as pictures of NumPy"):
        arrays(str(tmp_path / "x.npz"), SIDE, 3)
    np.savez(tmp_path / "y.npz", images=PIXELS, labels=list("abcde"))
    with pytest.raises(UserError, match="classes must be whole numbers"):
        arrays(str(tmp_path / "y.npz"), SIDE, 3)
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="cannot be read as pictures of NumPy"):
        arrays(str(tmp_path / "x.npy"), SIDE, 3)


@pytest.mark.parametrize("split", ["test", None])
def test_a_saved_table_holds_its_pictures(split: str | None) -> None:
    root = FIXTURES / "arrow" / ("" if split else "test")
    assert_pictures(table(str(root), split, "image", "label", SIDE), list("01234"))


def test_parquet_files_are_one_table_in_the_order_of_their_names() -> None:
    assert_pictures(table(str(FIXTURES / "parquet"), "test", "image", "label", SIDE), list("01234"))


def test_no_picture_is_read_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str] | None] = []
    read = pq.ParquetFile.read_row_group

    def watched(file: pq.ParquetFile, group: int, columns: list[str] | None = None) -> pa.Table:
        asked.append(columns)
        return read(file, group, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    dataset = table(str(FIXTURES / "parquet"), None, "image", "label", SIDE)
    assert asked == [["label"]] * 3  # of three groups
    dataset.load("4")
    assert asked[3:] == [["image"]]


def test_what_is_not_in_a_table_is_named_with_what_is() -> None:
    with pytest.raises(UserError, match=r"no column picture \(dataset.image\); there are: image, label"):
        table(str(FIXTURES / "parquet"), None, "picture", "label", SIDE)
    for kind, split, line in (
        ("arrow", "tests", r"no folder and no file is of dataset\.split=tests; did you mean test\?"),
        ("parquet", "tset", r"no folder and no file is of dataset\.split=tset; did you mean test\?"),
        ("arrow", None, "set dataset.split; there are: test"),
    ):
        with pytest.raises(UserError, match=line):
            table(str(FIXTURES / kind), split, "image", "label", SIDE)


def test_a_column_of_something_else_holds_no_picture() -> None:
    with pytest.raises(UserError, match="row 0 holds no picture in its column label"):
        table(str(FIXTURES / "parquet"), None, "label", "none", SIDE).load("0")


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read as a table of pictures"):
        table(str(tmp_path), None, "image", "label", SIDE)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"state\.json: names no files of a table \('_data_files'\); save or fetch it anew"
    ):
        table(str(tmp_path), None, "image", "label", SIDE)


def test_a_tar_holds_its_pictures() -> None:
    assert_pictures(tars(str(FIXTURES / "faces.tar"), SIDE), [f"face{number}" for number in range(5)])


def test_ids_of_several_tars_are_distinct(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copy(FIXTURES / "faces.tar", tmp_path / f"{name}.tar")
    dataset = tars(str(tmp_path), SIDE)
    assert len(set(dataset.ids)) == 10 and len(dataset.labels or {}) == 10


@pytest.mark.parametrize("cut", [100, 512, 700, 0])
def test_a_tar_that_ends_early_is_refused(tmp_path: Path, cut: int) -> None:
    with tarfile.open(FIXTURES / "faces.tar") as tar:
        second = tar.getmembers()[2].offset
    shutil.copy(FIXTURES / "faces.tar", tmp_path / "x.tar")
    os.truncate(tmp_path / "x.tar", second + cut)
    if cut == 0:  # nothing is cut in two: some programs write no end
        assert len(tars(str(tmp_path), SIDE).ids) == 1
        return
    with pytest.raises(UserError, match=r"x\.tar.*: cannot be read as a tar, not compressed, of pictures \("):
        tars(str(tmp_path), SIDE)


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.add(FIXTURES / "faces.tar", "inner.png")
    with pytest.raises(UserError, match=r"x.tar: cannot be read as a tar, not compressed"):
        tars(str(tmp_path), SIDE)


@pytest.mark.parametrize(
    ("member", "content", "line"),
    [
        ("b.cls", b"cat", "b.cls: its class is cat, and must be a whole number of at least 0"),
        ("b.cls", b"-1", "b.cls: its class is -1, and must be"),
        ("b.png", b"no picture", "b.png: this image cannot be read"),
        ("b.txt", b"x" * 2000, "b.txt: cannot be read as a tar, .*end of data"),
    ],
)
def test_the_member_at_fault_is_named(tmp_path: Path, member: str, content: bytes, line: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(FIXTURES / "faces.tar", "a.png")
        entry, begin = tarfile.TarInfo(member), tar.offset
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    if member == "b.txt":  # half of it
        os.truncate(tmp_path / "x.tar", begin + 1500)
    with pytest.raises(UserError, match=f"x.tar, {line}"):
        tars(str(tmp_path), SIDE).load("b")


def test_a_class_of_a_table_is_a_whole_number(tmp_path: Path) -> None:
    """Others lost what follows the point."""
    for labels in ([0.5, 1.0], [0.0, 1.0]):
        pq.write_table(pa.table({"image": [b"", b""], "label": labels}), tmp_path / "train.parquet")
        if labels[0]:
            with pytest.raises(UserError, match=r"cannot be read .*Float value 0\.5"):
                table(str(tmp_path), None, "image", "label", SIDE)
        else:
            assert table(str(tmp_path), None, "image", "label", SIDE).labels == {"0": 0, "1": 1}


def test_a_negative_class_is_refused_with_its_picture(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=[3, 1, -1, 1, 5])
    with pytest.raises(UserError, match="dataset=arrays: picture 2: its class is -1, and must be"):
        arrays(str(tmp_path / "x.npz"), SIDE, 3)


def test_a_picture_is_the_same_from_every_container(tmp_path: Path) -> None:
    """Larger pictures, which are resized and cropped."""
    pixels = np.random.default_rng(7).integers(0, 256, (1, 40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "one.png")
    np.save(tmp_path / "x.npy", pixels)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "one.png", "one.png")
    expected = folder(str(tmp_path), SIDE).load("one")
    assert torch.equal(arrays(str(tmp_path / "x.npy"), SIDE, 3).load("0"), expected)
    assert torch.equal(tars(str(tmp_path / "x.tar"), SIDE).load("one"), expected)


@pytest.mark.parametrize(
    ("name", "where"),
    [("huggingface", f"dataset.root={FIXTURES}/arrow"), ("webdataset", f"dataset.root={FIXTURES}/faces.tar")],
)
def test_a_run_restores_them(tmp_path: Path, name: str, where: str) -> None:
    small = ("method=latent_dps", "task=box", "steps=2", "n_images=1", "device=cpu", "wandb.mode=disabled")
    options = ("dataset.split=test",) if name == "huggingface" else ()
    done = command(tmp_path, f"dataset={name}", where, *options, *small)
    assert done.code == 0, done.err


def write() -> None:
    """Write the fixtures anew, by the libraries themselves."""
    import datasets
    import webdataset

    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    columns = {"image": [Image.fromarray(one) for one in PIXELS], "label": CLASSES}
    rows = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"test": rows}).save_to_disk(FIXTURES / "arrow")
    (FIXTURES / "parquet").mkdir()
    for part, chosen in enumerate((range(3), range(3, 5))):
        rows.select(chosen).to_parquet(FIXTURES / "parquet" / f"test-0000{part}-of-00002.parquet", batch_size=2)
    with webdataset.TarWriter(str(FIXTURES / "faces.tar")) as tar:
        for number, (pixels, label) in enumerate(zip(PIXELS, CLASSES, strict=True)):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "png")
            tar.write({"__key__": f"face{number}", "png": file.getvalue(), "cls": label})


if __name__ == "__main__":
    write()

"""ImageNet in its two layouts, small: the classes must come out the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos import ids
from ldsmc_bench.photos.imagenet import KNOWN, imagenet
from ldsmc_bench.problem.datasets import Dataset

TEST = ids.read_ids("imagenet", "test")
FIRST = TEST[:3]
NAMES = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 50_001)]
# Made up, but for the first five, which are ImageNet's own.
CLASSES = np.r_[[65, 970, 230, 809, 516], np.random.default_rng(0).permutation(np.arange(49_995) % 1000)]
TRUTH = dict(zip(NAMES, map(int, CLASSES), strict=True))
SYNSETS = [f"n{10_000_003 + 7 * rank:08d}" for rank in range(1000)]  # sorted


def lines(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def csv(folder: Path) -> str:
    """Kaggle's file: in no order, with boxes, here and there several of them."""
    boxes = [f"{name},{SYNSETS[label]} 85 1 499 272" for name, label in TRUTH.items()]
    boxes[::3] = [f"{row} {row.split(',')[1].split()[0]} 3 4 5 6" for row in boxes[::3]]
    np.random.default_rng(2).shuffle(boxes)
    return lines(folder / "LOC_val_solution.csv", "ImageId,PredictionString", *boxes)


def names_and_synsets(folder: Path) -> str:
    return lines(folder / "synsets.txt", *(f"{name} {SYNSETS[label]}" for name, label in TRUTH.items()))


@pytest.mark.parametrize("make", [csv, names_and_synsets])
def test_the_classes_are_those_of_the_list(tmp_path: Path, flat: Path, make) -> None:  # type: ignore[no-untyped-def]
    assert loaded(flat, make(tmp_path)).labels == {image_id: TRUTH[image_id] for image_id in TEST}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "0 synsets, but a class is a rank among all 1000"),
        (["a n01440764"], "1 synsets, but a class is a rank among all 1000"),
        (["a 65"], "no picture and synset in 'a 65'; give Kaggle's"),
        (["65"], "no picture and synset in '65'; give Kaggle's"),
        (["a n01440764", "a n01440765"], "a has several lines"),
    ],
)
def test_another_list_is_refused(tmp_path: Path, flat: Path, rows: list[str], what: str) -> None:
    with pytest.raises(UserError, match=rf"^dataset\.labels=.*{what}") as caught:
        loaded(flat, lines(tmp_path / "list.txt", *rows))
    assert "\n" not in str(caught.value)


def put(path: Path) -> None:
    number = int(path.stem[-8:])
    pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")  # without loss, whatever its suffix


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    root = tmp_path / "flat"
    root.mkdir()
    for image_id in FIRST:
        put(root / f"{image_id}.JPEG")
    return root


@pytest.fixture
def by_synset(tmp_path: Path) -> Path:
    """All test pictures in their folders; only the first ones can be read."""
    root = tmp_path / "val"
    for synset in SYNSETS:
        (root / synset).mkdir(parents=True)
    for image_id in [*TEST, *KNOWN]:
        (root / SYNSETS[TRUTH[image_id]] / f"{image_id}.JPEG").touch()
    for image_id in FIRST:
        put(root / SYNSETS[TRUTH[image_id]] / f"{image_id}.JPEG")
    return root


def loaded(root: Path, labels: str | None = None, n_images: int = 3) -> Dataset:
    return imagenet(str(root), "test", labels, n_images, 32, collection="imagenet")


def test_the_two_layouts_are_one_data_set(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    made = [loaded(flat, csv(tmp_path)), loaded(by_synset)]
    assert len({dataset.digest for dataset in made}) == 1
    for dataset in made:
        assert (dataset.name, list(dataset.ids)) == ("imagenet", TEST)
        assert dataset.labels == {image_id: TRUTH[image_id] for image_id in TEST}
        for image_id in FIRST:
            assert torch.equal(dataset.load(image_id), made[0].load(image_id))
    assert not torch.equal(made[0].load(FIRST[0]), made[0].load(FIRST[1]))


def test_the_tuning_pictures_are_others(tmp_path: Path, flat: Path) -> None:
    tuning = ids.read_ids("imagenet", "tuning")
    put(flat / f"{tuning[0]}.JPEG")
    dataset = imagenet(str(flat), "tuning", csv(tmp_path), 1, 32)
    assert list(dataset.ids) == tuning
    assert dataset.labels == {image_id: TRUTH[image_id] for image_id in tuning}
    assert dataset.digest != loaded(flat, csv(tmp_path)).digest


def test_another_class_of_a_picture_is_another_run(tmp_path: Path, flat: Path) -> None:
    before = loaded(flat, csv(tmp_path)).digest
    rows = (f"{name} {SYNSETS[(label + (name == TEST[-1])) % 1000]}" for name, label in TRUTH.items())
    assert loaded(flat, lines(tmp_path / "other.txt", *rows)).digest != before


def test_a_missing_picture_is_named(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    labels = csv(tmp_path)
    loaded(flat, labels, n_images=3)
    with pytest.raises(UserError, match=rf"^dataset\.root=.*: 2 of 5 pictures are missing, .*{TEST[3]}\.JPEG"):
        loaded(flat, labels, n_images=5)
    (by_synset / SYNSETS[TRUTH[TEST[9]]] / f"{TEST[9]}.JPEG").unlink()
    with pytest.raises(UserError, match=rf"^dataset\.root=.* for 1 of the 1024 ids of the split: {TEST[9]}"):
        loaded(by_synset, n_images=1)


def test_a_list_without_the_classes_of_all_ids_is_refused(tmp_path: Path, flat: Path) -> None:
    rows = [f"{name} {SYNSETS[label]}" for name, label in TRUTH.items() if name != TEST[7]]
    with pytest.raises(UserError, match=rf"^dataset\.labels=.* for 1 of the 1024 ids .* {TEST[7]}"):
        loaded(flat, lines(tmp_path / "val.txt", *rows))


def test_folders_of_fewer_synsets_are_refused(by_synset: Path) -> None:
    used = {TRUTH[image_id] for image_id in [*TEST, *KNOWN]}
    (by_synset / SYNSETS[next(label for label in range(1000) if label not in used)]).rmdir()
    with pytest.raises(UserError, match=r"^dataset\.root=.*: 999 synsets, but a class is a rank among all 1000"):
        loaded(by_synset)


def test_folders_in_wrong_order_or_doubled_are_refused(by_synset: Path) -> None:
    twice = by_synset / SYNSETS[TRUTH[TEST[4]] - 1] / f"{TEST[4]}.JPEG"
    twice.touch()
    with pytest.raises(UserError, match=f"{TEST[4]} is in .* too"):
        loaded(by_synset)
    twice.unlink()
    (by_synset / SYNSETS[0]).rename(by_synset / "n99999999")  # every rank is one too low
    with pytest.raises(UserError, match="other synsets"):
        loaded(by_synset)


def test_classes_have_one_source(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.labels is not set"):
        loaded(flat)
    with pytest.raises(UserError, match=r"^dataset\.labels=.*synset folders"):
        loaded(by_synset, csv(tmp_path))

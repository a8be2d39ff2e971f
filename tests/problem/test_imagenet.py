"""ImageNet in its layouts and with every file of classes, made small: the classes must come out the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem import ids
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.imagenet import imagenet
from ldsmc_bench.problem.imagenet_labels import KNOWN, labels_of, ordered_synsets

TEST = ids.kept("imagenet", "test")
FIRST = TEST[:3]
NAMES = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 50_001)]
# Made up, but for the first five, which are ImageNet's own.
CLASSES = np.r_[[65, 970, 230, 809, 516], np.random.default_rng(0).permutation(np.arange(49_995) % 1000)]
TRUTH = dict(zip(NAMES, map(int, CLASSES), strict=True))
SYNSETS = [f"n{10_000_003 + 7 * rank:08d}" for rank in range(1000)]  # in the networks' order, that is sorted
DEVKIT = [SYNSETS[rank] for rank in np.random.default_rng(1).permutation(1000)]  # in the devkit's order
NUMBER = {synset: number for number, synset in enumerate(DEVKIT, start=1)}


def lines(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def csv(folder: Path) -> str:
    """Kaggle's file: in no order, with boxes, here and there several of them."""
    boxes = [f"{name},{SYNSETS[label]} 85 1 499 272" for name, label in TRUTH.items()]
    boxes[::3] = [f"{row} {row.split(',')[1].split()[0]} 3 4 5 6" for row in boxes[::3]]
    np.random.default_rng(2).shuffle(boxes)
    return lines(folder / "LOC_val_solution.csv", "ImageId,PredictionString", *boxes)


def caffe(folder: Path) -> str:
    return lines(folder / "val.txt", *(f"{name}.JPEG {label}" for name, label in TRUTH.items()))


def names_and_synsets(folder: Path) -> str:
    return lines(folder / "synsets.txt", *(f"val/{name}.JPEG {SYNSETS[label]}" for name, label in TRUTH.items()))


def synsets_alone(folder: Path) -> str:
    return lines(folder / "alone.txt", *(SYNSETS[label] for label in TRUTH.values()))


def devkit(folder: Path) -> str:
    name = "ILSVRC2012_validation_ground_truth.txt"
    return lines(folder / name, *(str(NUMBER[SYNSETS[label]]) for label in TRUTH.values()))


def meta(folder: Path) -> str:
    """The devkit's table: classes by number, and inner nodes of the hierarchy with higher numbers."""
    rows = [(NUMBER[name], name, "words", 0) for name in SYNSETS] + [
        (1001 + i, f"n0000000{i}", "", 2) for i in range(5)
    ]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    path = folder / "meta.mat"
    savemat(path, {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})
    return str(path)


def class_list(folder: Path) -> str:
    """The devkit's order as text."""
    return lines(folder / "map_clsloc.txt", *(f"{name} {number} some_words" for name, number in NUMBER.items()))


@pytest.mark.parametrize("make", [csv, caffe, names_and_synsets, synsets_alone])
def test_files_that_speak_for_themselves(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    assert labels_of(make(tmp_path)) == TRUTH


@pytest.mark.parametrize("order", [meta, class_list])
def test_the_devkits_truth_with_its_order(tmp_path: Path, order) -> None:  # type: ignore[no-untyped-def]
    assert ordered_synsets(order(tmp_path)) == DEVKIT
    assert labels_of(devkit(tmp_path), order(tmp_path)) == TRUTH


def test_a_part_of_the_pictures_has_its_classes_by_synset(tmp_path: Path) -> None:
    some = dict(list(TRUTH.items())[7000:7020])
    rows = lines(tmp_path / "some.txt", *(f"{name} {SYNSETS[label]}" for name, label in some.items()))
    with pytest.raises(UserError, match=r"^dataset\.labels=.* a class is a rank among all 1000"):
        labels_of(rows)
    assert labels_of(rows, meta(tmp_path)) == some
    assert labels_of(rows, lines(tmp_path / "sorted.txt", *SYNSETS)) == some


def test_the_devkits_truth_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.synsets is not set: .* in another order .*meta\.mat"):
        labels_of(devkit(tmp_path))


def test_the_devkits_truth_with_sorted_synsets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.synsets=.*sorted.*another order"):
        labels_of(devkit(tmp_path), lines(tmp_path / "synset_words.txt", *SYNSETS))


def test_the_devkits_truth_with_another_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ILSVRC2012_val_00000001 would have class .* but as networks count it has 65"):
        labels_of(devkit(tmp_path), lines(tmp_path / "reversed.txt", *reversed(DEVKIT)))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (lambda label: NUMBER[SYNSETS[label]], "networks count 0 to 999"),
        (lambda label: NUMBER[SYNSETS[label]] - 1, "counted in another order"),
        (lambda label: label + 1, "networks count 0 to 999"),
        (lambda label: (label + 1) % 1000, "counted in another order"),
    ],
)
def test_numbers_in_another_order_are_refused(tmp_path: Path, number, said: str) -> None:  # type: ignore[no-untyped-def]
    """The devkit's, from 1 and from 0, and the networks' from 1."""
    rows = [f"{name}.JPEG {number(label)}" for name, label in TRUTH.items()]
    with pytest.raises(UserError, match=rf"^dataset\.labels=.*{said}"):
        labels_of(lines(tmp_path / "val.txt", *rows))


def test_numbers_for_a_part_of_the_pictures_are_refused(tmp_path: Path) -> None:
    rows = [f"{name} {TRUTH[name]}" for name in TEST]
    assert not KNOWN.keys() <= set(TEST)
    with pytest.raises(UserError, match=r"^dataset\.labels=.*can only be told with ILSVRC2012_val_00000001"):
        labels_of(lines(tmp_path / "part.txt", *rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "neither lines of a name"),
        (["a.JPEG 1", "2"], "neither lines of a name"),
        (["1", "2"], "2 lines without names"),
        (["a.JPEG cat"], "'cat' is neither a synset"),
        (["a.JPEG 1", "a.JPEG 2"], "several lines"),
        (["a.JPEG n01440764", "b.JPEG 3"], "synsets and numbers are mixed"),
    ],
)
def test_what_is_no_list_of_classes_is_refused(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(UserError, match=rf"^dataset\.labels=.*({said})") as caught:
        labels_of(lines(tmp_path / "list.txt", *rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "text", "short"])
def test_what_is_no_meta_mat_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "meta.mat"
    if damage == "text":
        path.write_text("no table")
    if damage == "short":
        savemat(path, {"synsets": np.zeros(3)})
    with pytest.raises(UserError, match=r"^dataset\.synsets=.*meta\.mat") as caught:
        ordered_synsets(str(path))
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


def loaded(root: Path, labels: str | None = None, synsets: str | None = None, n_images: int = 3) -> Dataset:
    return imagenet(str(root), "test", labels, synsets, n_images, 32)


def test_the_three_layouts_are_one_data_set(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    made = [loaded(flat, csv(tmp_path)), loaded(flat, devkit(tmp_path), meta(tmp_path)), loaded(by_synset)]
    assert len({dataset.digest for dataset in made}) == 1
    for dataset in made:
        assert (dataset.name, list(dataset.ids)) == ("imagenet", TEST)
        assert dataset.labels == {image_id: TRUTH[image_id] for image_id in TEST}
        for image_id in FIRST:
            assert torch.equal(dataset.load(image_id), made[0].load(image_id))
    assert not torch.equal(made[0].load(FIRST[0]), made[0].load(FIRST[1]))


def test_the_tuning_pictures_are_others(tmp_path: Path, flat: Path) -> None:
    tuning = ids.kept("imagenet", "tuning")
    put(flat / f"{tuning[0]}.JPEG")
    dataset = imagenet(str(flat), "tuning", caffe(tmp_path), None, 1, 32)
    assert list(dataset.ids) == tuning
    assert dataset.labels == {image_id: TRUTH[image_id] for image_id in tuning}
    assert dataset.digest != loaded(flat, caffe(tmp_path)).digest


def test_another_class_of_a_picture_is_another_run(tmp_path: Path, flat: Path) -> None:
    before = loaded(flat, caffe(tmp_path)).digest
    rows = (f"{name} {(label + (name == TEST[-1])) % 1000}" for name, label in TRUTH.items())
    assert loaded(flat, lines(tmp_path / "other.txt", *rows)).digest != before


def test_a_missing_picture_is_named(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    labels = caffe(tmp_path)
    loaded(flat, labels, n_images=3)
    with pytest.raises(UserError, match=rf"^dataset\.root=.*: 2 of 5 pictures are missing, .*{TEST[3]}\.JPEG"):
        loaded(flat, labels, n_images=5)
    (by_synset / SYNSETS[TRUTH[TEST[9]]] / f"{TEST[9]}.JPEG").unlink()
    with pytest.raises(UserError, match=rf"^dataset\.root=.* for 1 of the 1024 ids of the split, the first {TEST[9]}"):
        loaded(by_synset, n_images=1)


def test_a_list_without_the_classes_of_all_ids_is_refused(tmp_path: Path, flat: Path) -> None:
    rows = [f"{name} {label}" for name, label in TRUTH.items() if name != TEST[7]]
    with pytest.raises(UserError, match=rf"^dataset\.labels=.* for 1 of the 1024 ids .* {TEST[7]}"):
        loaded(flat, lines(tmp_path / "val.txt", *rows))


def test_folders_of_fewer_synsets_need_the_list_of_all(tmp_path: Path, by_synset: Path) -> None:
    used = {TRUTH[image_id] for image_id in [*TEST, *KNOWN]}
    empty = next(label for label in range(1000) if label not in used)
    before = loaded(by_synset)
    (by_synset / SYNSETS[empty]).rmdir()
    with pytest.raises(UserError, match=r"^dataset\.root=.*: 999 synset folders, but a class is a rank among all 1000"):
        loaded(by_synset)
    assert loaded(by_synset, synsets=meta(tmp_path)).labels == before.labels


def test_folders_in_wrong_order_or_doubled_are_refused(by_synset: Path) -> None:
    twice = by_synset / SYNSETS[TRUTH[TEST[4]] - 1] / f"{TEST[4]}.JPEG"
    twice.touch()
    with pytest.raises(UserError, match=f"{TEST[4]} is in .* too"):
        loaded(by_synset)
    twice.unlink()
    (by_synset / SYNSETS[0]).rename(by_synset / "n99999999")  # every rank is one too low
    with pytest.raises(UserError, match="counted in another order"):
        loaded(by_synset)


def test_classes_have_one_source(tmp_path: Path, flat: Path, by_synset: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.labels is not set"):
        loaded(flat)
    with pytest.raises(UserError, match=r"^dataset\.labels=.*synset folders"):
        loaded(by_synset, caffe(tmp_path))

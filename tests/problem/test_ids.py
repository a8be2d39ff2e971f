"""The lists of FFHQ's and ImageNet's pictures that are measured."""

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos import ids

LISTS = [("ffhq", "test"), ("ffhq", "tuning"), ("imagenet", "test"), ("imagenet", "tuning")]
VALIDATION = {
    "ffhq": [f"{number:05d}" for number in range(60_000, 70_000)],
    "imagenet": [f"ILSVRC2012_val_{number:08d}" for number in range(1, 50_001)],
}


@pytest.mark.parametrize(("dataset", "split"), LISTS)
def test_the_lists_in_conf_are_drawn_from_the_validation_pictures(dataset: str, split: str) -> None:
    assert ids.read_ids(dataset, split) == ids.draw(VALIDATION[dataset], split)


@pytest.mark.parametrize(("dataset", "split"), LISTS)
def test_a_list_has_validation_pictures_each_once(dataset: str, split: str) -> None:
    found = ids.read_ids(dataset, split)
    assert len(found) == len(set(found)) == {"test": 1024, "tuning": 64}[split]
    if dataset == "ffhq":
        assert all(len(name) == 5 and 60_000 <= int(name) <= 69_999 for name in found)
    else:
        assert all(name.startswith("ILSVRC2012_val_") and 1 <= int(name[-8:]) <= 50_000 for name in found)


@pytest.mark.parametrize("dataset", ["ffhq", "imagenet"])
def test_tuning_pictures_are_no_test_pictures(dataset: str) -> None:
    assert not set(ids.read_ids(dataset, "test")) & set(ids.read_ids(dataset, "tuning"))


@pytest.mark.parametrize(("dataset", "split"), LISTS)
def test_any_first_part_is_a_sample_of_the_whole_range(dataset: str, split: str) -> None:
    numbers = [int(name[-8:]) for name in ids.read_ids(dataset, split)]
    low, high = (60_000, 69_999) if dataset == "ffhq" else (1, 50_000)
    for part in (numbers, numbers[: len(numbers) // 2]):
        mean = sum(part) / len(part)
        standard_error = (high - low) / 12**0.5 / len(part) ** 0.5
        assert abs(mean - (low + high) / 2) < 3 * standard_error


def test_the_draw_does_not_depend_on_the_order_and_an_id_keeps_its_place() -> None:
    every = VALIDATION["ffhq"]
    drawn = ids.draw(every, "test")
    assert ids.draw(reversed(every), "test") == drawn
    fewer = ids.draw((name for name in every if name != drawn[5]), "test")
    assert fewer[:1023] == drawn[:5] + drawn[6:]


def test_another_split_is_named() -> None:
    for function in (lambda: ids.read_ids("ffhq", "train"), lambda: ids.draw(["a"], "train")):
        with pytest.raises(UserError, match=r"^dataset\.split=train: must be test or tuning"):
            function()

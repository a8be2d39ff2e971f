"""The lists of FFHQ's and ImageNet's pictures that are measured."""

from pathlib import Path

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem import ids

LISTS = [("ffhq", "test"), ("ffhq", "tuning"), ("imagenet", "test"), ("imagenet", "tuning")]


def test_the_command_makes_the_lists_in_conf_again(tmp_path: Path) -> None:
    ids.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in ids.LISTS.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ids.LISTS / path.name).read_bytes()


@pytest.mark.parametrize(("dataset", "split"), LISTS)
def test_a_list_has_validation_pictures_each_once(dataset: str, split: str) -> None:
    found = ids.kept(dataset, split)
    assert len(found) == len(set(found)) == {"test": 1024, "tuning": 64}[split]
    if dataset == "ffhq":
        assert all(len(name) == 5 and 60_000 <= int(name) <= 69_999 for name in found)
    else:
        assert all(name.startswith("ILSVRC2012_val_") and 1 <= int(name[-8:]) <= 50_000 for name in found)


@pytest.mark.parametrize("dataset", ["ffhq", "imagenet"])
def test_tuning_pictures_are_no_test_pictures(dataset: str) -> None:
    assert not set(ids.kept(dataset, "test")) & set(ids.kept(dataset, "tuning"))


@pytest.mark.parametrize(("dataset", "split"), LISTS)
def test_any_first_part_is_a_sample_of_the_whole_range(dataset: str, split: str) -> None:
    numbers = [int(name[-8:]) for name in ids.kept(dataset, split)]
    low, high = (60_000, 69_999) if dataset == "ffhq" else (1, 50_000)
    for part in (numbers, numbers[: len(numbers) // 2]):
        mean = sum(part) / len(part)
        standard_error = (high - low) / 12**0.5 / len(part) ** 0.5
        assert abs(mean - (low + high) / 2) < 3 * standard_error


def test_the_draw_does_not_depend_on_the_order_and_an_id_keeps_its_place() -> None:
    every = ids.VALIDATION["ffhq"]
    drawn = ids.draw(every, "test")
    assert ids.draw(reversed(every), "test") == drawn
    fewer = ids.draw((name for name in every if name != drawn[5]), "test")
    assert fewer[:1023] == drawn[:5] + drawn[6:]


def test_another_split_is_named() -> None:
    for function in (lambda: ids.kept("ffhq", "train"), lambda: ids.draw(["a"], "train")):
        with pytest.raises(UserError, match=r"^dataset\.split=train: must be test or tuning"):
            function()

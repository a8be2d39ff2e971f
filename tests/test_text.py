"""Tables of text for a terminal."""

import pytest

from ldsmc_bench.text import text_table

COLUMNS = {"run": ["a", "long name"], "psnr": ["24.1", "3"], "seconds": ["1", "2"]}


def test_names_are_left_and_numbers_right_aligned() -> None:
    assert text_table(COLUMNS, left={"run"}, rule=True).splitlines() == [
        "run        psnr  seconds",
        "------------------------",
        "a          24.1        1",
        "long name     3        2",
    ]


@pytest.mark.parametrize("width", [1, 15])
def test_columns_that_do_not_fit_go_into_blocks_that_repeat_the_names(width: int) -> None:
    blocks = text_table(COLUMNS, left={"run"}, repeat=1, width=width).split("\n\n")
    assert [block.splitlines()[0].split() for block in blocks] == [["run", "psnr"], ["run", "seconds"]]


def test_a_table_without_rows_is_its_headings() -> None:
    assert text_table({"run": [], "psnr": []}) == "run  psnr"

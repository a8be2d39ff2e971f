"""A row of a table is exchanged; everything else in the file stays, byte for byte."""

from pathlib import Path

import pytest
import yaml

from ldsmc_bench.errors import UserError
from ldsmc_bench.tuning.rows import list_table, write_row

TABLE = """\
# source: a paper
# box: (zeta 2.0) 0.195
# boxes: another word
box: &box {zeta: 4.0, zeta_released: 0.5}  # by hand
freeform: &freeform
  zeta: 3.0
  zeta_released: 0.5

# not tuned: as the nearest
random: *freeform
sr4: {zeta: 1.0, zeta_released: 0.3}
"""


def written(tmp_path: Path, text: str, row: str) -> tuple[str, list[str]]:
    path = tmp_path / "dps.yaml"
    path.write_text(text)
    followers = write_row(path, row, {"zeta": 2.5e-5}, "0.1")
    return path.read_text(), followers


def test_the_row_is_exchanged_and_its_other_entries_its_anchor_and_all_else_stay(tmp_path: Path) -> None:
    text, followers = written(tmp_path, TABLE, "box")
    gone, new = TABLE.splitlines()[1:4:2], ["# box: 0.1", "box: &box {zeta: 2.5e-05, zeta_released: 0.5}"]
    assert text.splitlines() == [
        line for line in [*TABLE.splitlines()[:3], *new, *TABLE.splitlines()[4:]] if line not in gone
    ]
    assert followers == []


def test_a_row_of_several_lines_is_exchanged_and_its_aliases_follow(tmp_path: Path) -> None:
    text, followers = written(tmp_path, TABLE, "freeform")
    assert followers == ["random"]
    table = yaml.safe_load(text)
    assert table["freeform"] == table["random"] == {"zeta": 2.5e-5, "zeta_released": 0.5}
    assert {row: table[row] for row in ("box", "sr4")} == {row: yaml.safe_load(TABLE)[row] for row in ("box", "sr4")}


def test_an_alias_that_is_tuned_no_longer_follows(tmp_path: Path) -> None:
    text, followers = written(tmp_path, TABLE, "random")
    assert followers == []
    assert yaml.safe_load(text) == yaml.safe_load(TABLE) | {"random": {"zeta": 2.5e-5, "zeta_released": 0.5}}


def test_a_new_row_goes_to_the_end_of_a_table_or_of_another_methods(tmp_path: Path) -> None:
    text, _ = written(tmp_path, "# as latent-DPS\ndefaults:\n  - latent_dps@_here_\n", "box")
    assert text == "# as latent-DPS\ndefaults:\n  - latent_dps@_here_\n# box: 0.1\nbox: {zeta: 2.5e-05}\n"


def test_tables_that_are_not_there_come_to_be(tmp_path: Path) -> None:
    write_row(tmp_path / "new" / "mine.yaml", "box", {"zeta": 1.0}, "0.1")
    assert yaml.safe_load((tmp_path / "new" / "mine.yaml").read_text()) == {"box": {"zeta": 1.0}}
    for table in ("new", "toyfaces", "new"):
        list_table(tmp_path / "mine.yaml", table, "mine")
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["defaults"] == [
        "new/mine@new",
        "toyfaces/mine@toyfaces",
    ]


@pytest.mark.parametrize("text", ["box: [", "box: 3\n", "- box\n"])
def test_a_file_that_is_no_table_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dps.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"dps\.yaml: "):
        write_row(path, "box", {"zeta": 1.0}, "0.1")
    assert path.read_text() == text

"""Rows of two codes never share a run unnoticed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.code_digest import _read, agree_on_code, code
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.store import Store, keep, open_store
from tests.records.kept import RUN, picture, row

SAMPLER = '"""A sampler."""\n\ndef sample():\n    return 1\n'


@pytest.fixture
def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_sampler", raising=False)
    path = tmp_path / "their_sampler.py"
    path.write_text(SAMPLER)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results", RUN, "steps: 100\n")


def config(**more: Any) -> dict[str, Any]:
    groups = {"method": {"sample": {"_target_": "their_sampler.sample"}}, "task": {}, "dataset": {}, "prior": {}}
    return {**groups, "mix_code": False, **more}


def change(path: Path, text: str) -> None:
    path.write_text(text)
    _read.cache_clear()  # another process would not have read it yet


def test_comments_docstrings_and_layout_do_not_count_and_the_rest_does(sampler: Path) -> None:
    before = code(config())["their_sampler"]
    change(sampler, '"""Another word."""\n# why\ndef sample( ):\n    """Returns 1."""\n    return (1)\n')
    assert code(config())["their_sampler"] == before
    change(sampler, SAMPLER.replace("1", "2"))
    assert code(config())["their_sampler"] != before


def test_what_reaches_the_numbers_is_followed_and_nothing_else() -> None:
    read = code(config(method={"sample": {"_target_": "baselines.psld.sample"}}))
    assert {"baselines.psld", "ldsmc_bench.batch", "ldsmc_bench.noise", "ldsmc_bench.scoring.paired"} <= read.keys()
    assert not any(name.startswith(("ldsmc_bench.report", "ldsmc_bench.records", "baselines.dps")) for name in read)


def test_rows_of_other_code_are_not_added_to(
    sampler: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ldsmc_bench.code_digest.commit", lambda: "first")
    agree_on_code(store, config(), going_on=True)
    keep(store, row("0000"), picture("0000"))
    agree_on_code(store, config(), going_on=True)
    monkeypatch.setattr("ldsmc_bench.code_digest.commit", lambda: "second")
    change(sampler, SAMPLER.replace("1", "2"))
    with pytest.raises(UserError, match=r"commit first; in second their_sampler changed: go back .* mix_code=true"):
        agree_on_code(store, config(), going_on=True)
    agree_on_code(store, config(), going_on=False)
    assert "warning: " in capsys.readouterr().err
    agree_on_code(store, config(mix_code=True), going_on=True)
    agree_on_code(store, config(), going_on=True)
    assert [one["commit"] for one in json.loads((store.root / "code.json").read_bytes())] == ["first", "second"]


def test_a_run_without_rows_is_of_the_code_that_makes_the_first(sampler: Path, store: Store) -> None:
    agree_on_code(store, config(), going_on=True)
    change(sampler, SAMPLER.replace("1", "2"))
    agree_on_code(store, config(), going_on=True)
    assert len(json.loads((store.root / "code.json").read_bytes())) == 1

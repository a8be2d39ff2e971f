"""Each record names the code that computed it, and a run that goes on under other code says so."""

from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.code_version import code_version, compare_code

FIRST: dict[str, Any] = {"commit": "1" * 40, "clean": True}
SECOND: dict[str, Any] = {"commit": "2" * 40, "clean": True}


def test_ours_is_named_by_its_commit_and_a_strangers_by_its_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = code_version("baselines.psld.sample")
    assert ours.keys() == {"commit", "clean"} and (ours["commit"] is None or len(ours["commit"]) == 40)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in "one", "two":
        (tmp_path / f"their_{name}.py").write_text(f"class Sampler:\n    def sample():\n        return '{name}'\n")
    one, two = (code_version(f"their_{name}.Sampler.sample") for name in ("one", "two"))
    assert one["sampler"] != two["sampler"] and {**one, "sampler": None} == {**ours, "sampler": None}
    measured = code_version("baselines.psld.sample", "their_two.Sampler.sample")
    assert measured == {**ours, "operator": two["sampler"]}


def test_other_code_is_warned_of_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    compare_code("run-a", SECOND, [SECOND, SECOND], mix=False)
    compare_code("run-a", SECOND, [], mix=False)
    assert capsys.readouterr().err == ""
    compare_code("run-a", SECOND, [FIRST, SECOND, {**SECOND, "clean": False}, None], mix=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: run-a: some of its images were computed by the code at 1111")
    assert f"and {SECOND['commit']} with changes and unknown; the code is now at 2222" in line
    with pytest.raises(UserError, match=r"^mix_code=false: run-a: .* go back to that commit"):
        compare_code("run-a", SECOND, [FIRST], mix=False)


def test_another_function_of_the_same_name_is_refused_and_a_moved_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = {**FIRST, "sampler": "mine.sample 0123456789ab"}
    compare_code("run-a", {**FIRST, "sampler": "moved.sample 0123456789ab"}, [first], mix=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"^method: run-a was computed by mine.sample, and theirs.sample of the same"):
        compare_code("run-a", {**FIRST, "sampler": "theirs.sample ba9876543210"}, [first], mix=True)
    compare_code("run-a", {**FIRST, "sampler": "mine.sample ba9876543210"}, [first], mix=True)
    assert "the code is now at" in capsys.readouterr().err  # it was edited

"""The doctor's findings, and the commands that bring what is not there."""

import json
import os
from pathlib import Path

import pytest

from ldsmc_bench.commands import doctor
from ldsmc_bench.fetch.sources import SOURCES, place


def examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert doctor.main([f"results_dir={tmp_path}", "json=true"]) == 0
    return {line["what"]: line for line in json.loads(capsys.readouterr().out)}


def test_the_command_that_brings_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "cache"))
    before = examined(tmp_path, capsys)
    for name in ("metric=niqe", "LaTeX", "SLURM"):
        assert not before[name]["there"] and before[name]["remedy"], name
    assert before["metric=niqe"]["remedy"] == "python -m ldsmc_bench fetch metric=niqe"
    for program in ("pdflatex", "sbatch"):
        (programs / program).write_text("#!/bin/sh\n")
        os.chmod(programs / program, 0o755)
    file = place("metric=niqe", SOURCES["metric=niqe"])
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 10)
    after = examined(tmp_path, capsys)
    assert all(after[name]["there"] and not after[name]["remedy"] for name in ("metric=niqe", "LaTeX", "SLURM"))
    assert after["metric=niqe"]["state"] == "in the cache, 10 bytes"


def test_a_program_without_its_own_weights_is_not_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ldsmc_bench.toyfaces.assets.ASSETS", tmp_path)
    assert doctor.main([f"results_dir={tmp_path}"]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if "embedded weights" in line]
    assert line.startswith("--") and "git restore" in line

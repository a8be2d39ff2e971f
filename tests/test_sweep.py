"""The report that a command ends with, made from what its jobs left behind."""

from pathlib import Path

import pytest

from ldsmc_bench.sweep import _captions, conclude
from tests.commands import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    assert tiny(folder, "-m", "particles=1,2", "n_images=1", f"results_dir={folder / 'results'}").code == 0
    return folder


@pytest.fixture
def jobs(folder: Path) -> list[Path]:
    (sweep,) = (folder / "results" / "logs").iterdir()
    return [sweep / "0", sweep / "1"]


def test_a_report_needs_no_device_of_the_runs(jobs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for job in jobs:
        config = job / ".hydra" / "config.yaml"
        config.write_text(config.read_text().replace("device: cpu", "device: cuda:77"))
        assert "cuda:77" in config.read_text()
    assert conclude(jobs) == []
    assert "sheet: " in capsys.readouterr().out


def test_a_job_that_died_is_named_by_what_it_was_asked(jobs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (jobs[0] / "outcome.json").unlink()
    (failure,) = conclude(jobs)
    assert failure.startswith("particles=1: the job died (log: ")
    said = capsys.readouterr()
    assert said.err == f"error: {failure}\n"
    assert "particles=2" in said.out


@pytest.mark.parametrize(
    ("runs", "captions"),
    [
        ([("ldsmc", 1, 100)], ["ldsmc"]),
        ([("ldsmc", 1, 100), ("ldsmc", 5, 100)], ["N=1", "N=5"]),
        ([("ldsmc", 1, 100), ("psld", 1, 50)], ["ldsmc 100 steps", "psld 50 steps"]),
        ([("ldsmc", 5, 100), ("ldsmc", 5, 100)], ["ldsmc #1", "ldsmc #2"]),
    ],
)
def test_captions_tell_the_runs_apart(runs: list[tuple[str, int, int]], captions: list[str]) -> None:
    names = [{"method": method, "particles": particles, "steps": steps} for method, particles, steps in runs]
    assert _captions(names) == captions

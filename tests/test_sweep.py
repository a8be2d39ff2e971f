"""The report that a command ends with, made from what its jobs left behind."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig

from ldsmc_bench.commands.sweep import _captions, _row, conclude, sheets
from ldsmc_bench.config import validate
from ldsmc_bench.records.jobs import Job, kept
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.status import Request, request
from ldsmc_bench.records.store import Store, open_store, write_summary
from tests.commands import LIGHT, TINY, here
from tests.report.stored import stored

WORK = (*TINY, *LIGHT, "task=box", "n_images=1", "particles=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two runs are finished, so that to ask for them again costs nothing."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert here(*WORK, "-m", "seed=0,1") == 0
    return folder


@pytest.fixture
def jobs(folder: Path) -> list[Job]:
    return kept(min((folder / "results" / "launches").iterdir()))


@pytest.fixture
def finished(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are at their end at once, and no sheets are drawn: what a test of the layout can do without."""
    found = {job.config["seed"]: job.run_id for job in jobs if job.config and job.run_id}

    def run(cfg: DictConfig) -> Store:
        validate(cfg)
        return Store(Path(cfg.results_dir) / "runs" / found[cfg.seed], found[cfg.seed])

    monkeypatch.setattr(sys.modules["ldsmc_bench.run"], "run", run)
    monkeypatch.setattr("ldsmc_bench.commands.sweep.sheets", lambda results: [])


def test_a_report_needs_no_device_of_the_runs(
    jobs: list[Job], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert conclude([replace(job, config={**(job.config or {}), "device": "cuda:77"}) for job in jobs]) == []
    assert "sheet: " in capsys.readouterr().out


def test_a_job_that_died_is_named_by_what_it_was_asked(
    jobs: list[Job], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (failure,) = conclude([replace(jobs[0], run_id=None), jobs[1]])
    assert failure.startswith("seed=0: the job died (log: ")
    said = capsys.readouterr()
    assert said.err == f"error: {failure}\n"
    assert "seed=1" in said.out


@pytest.mark.parametrize(
    "layout",
    [
        "hydra.sweep.subdir=g/${hydra.job.num}",
        "hydra.sweep.subdir=${hydra.job.override_dirname} results_dir=./results",
        "hydra.sweep.subdir=all",
        "hydra.output_subdir=null",
        "hydra.sweep.dir=used_twice hydra.sweeper.max_batch_size=1",
        "hydra.job.chdir=true",
    ],
)
def test_jobs_are_known_wherever_hydra_puts_them(
    folder: Path,
    finished: None,
    layout: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert here(*WORK, "-m", "seed=1,x,0", *layout.split()) == 1
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines() if re.match(r" +[01] ", line)] == ["1", "0"]
    assert said.err.splitlines()[-1] == "error: seed=x: must be a whole number of at least 0"
    assert here(*WORK, "-m", "seed=0", *layout.split()) == 0  # earlier commands' jobs are not this one's
    assert "seed=0" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["hydra.output_subdir=null", "hydra.job.chdir=true", "hydra.run.dir=."])
def test_a_single_run_is_known_too(
    folder: Path, finished: None, layout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert here(*WORK, "seed=0", layout) == 0
    assert "PSNR" in capsys.readouterr().out
    (job,) = kept(max((folder / "results" / "launches").iterdir()))
    run_id, cfg = str(job.run_id), job.asked
    assert (folder / "results" / "runs" / run_id / "summary.json").exists() and cfg.seed == 0


def test_a_folder_of_the_users_is_found_also_in_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    preset = "# @package _global_\nresults_dir: ~/found\nn_images: 0\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(preset)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for arguments in (["seed=0"], ["-m", "seed=0,1"]):
        assert here("experiment=mine", *arguments, "--config-dir", "conf", "device=cpu", "wandb.mode=disabled") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf", "found"]
    assert len(list((tmp_path / "found" / "launches").iterdir())) == 2


def test_a_finished_run_is_shown_at_once(
    folder: Path, finished: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert here(*WORK, "-m", "seed=0,x,1", "task=box") == 1
    said = capsys.readouterr()
    first, second = [line for line in said.out.splitlines() if line.startswith("run ")]
    assert re.match(r"run 1/3 seed=0: PSNR=[\d.]+, .*s/image=[\d.]+, images=1$", first)
    assert second.startswith("run 3/3 seed=1: ")
    assert said.err.splitlines()[0] == "run 2/3 seed=x: seed=x: must be a whole number of at least 0"


def test_a_run_that_waits_for_other_shards_shows_no_row_of_an_earlier_request(jobs: list[Job], tmp_path: Path) -> None:
    store = open_store(tmp_path, str(jobs[0].run_id), "steps: 1")
    wanted = Request((1,), RunLabels("m", "t", "d", particles=1, steps=1, seed=0))
    request(store, wanted)
    write_summary(store, {"n": 1, "n_failed": 0, "n_skipped": 0, "metrics": {}, "cost": {}})
    assert "images=1" in _row(store, "not yet")
    request(store, replace(wanted, images=(2,)))
    assert _row(store, "not yet") == "not yet"


def test_no_job_is_no_success(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("ldsmc_bench.commands.run.job", lambda cfg: None)
    assert here(*WORK, "-m", "seed=0,1") == 1
    assert capsys.readouterr().err == "error: 2 of 2 jobs left no note: they died, or never began\n"


def test_a_full_disk_takes_no_report(
    folder: Path, finished: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(launch: Path, job: Job) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("ldsmc_bench.commands.sweep.keep", full)
    assert here(*WORK, "-m", "seed=0,1") == 0
    assert "PSNR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runs", "captions"),
    [
        ([("ldsmc", 1, 100)], ["LD-SMC"]),
        ([("ldsmc", 1, 100), ("ldsmc", 5, 100)], ["N=1", "N=5"]),
        ([("ldsmc", 1, 100), ("psld", 1, 50)], ["LD-SMC 100 steps", "PSLD 50 steps"]),
        ([("ldsmc", 5, 100), ("ldsmc", 5, 100)], ["LD-SMC #1", "LD-SMC #2"]),
    ],
)
def test_captions_tell_the_runs_apart(runs: list[tuple[str, int, int]], captions: list[str]) -> None:
    names = [{"method": method, "particles": particles, "steps": steps} for method, particles, steps in runs]
    assert _captions(names) == captions


def test_a_sheet_says_of_an_absent_picture_whether_it_failed_or_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"test-{i:06d}" for i in range(4)]
    root = stored(tmp_path, "dps", "box", ids, lost={ids[1]: "not finite", ids[2]: "no such task"})
    request = json.loads((root / "requested.json").read_text())
    (root / "requested.json").write_text(json.dumps(request | {"first": ids}))
    skipped = root / "records" / f"{ids[2]}.json"
    skipped.write_text(skipped.read_text().replace('"failed"', '"skipped"'))
    (root / "records" / f"{ids[3]}.json").unlink()
    columns: list[dict[str, list[object]]] = []
    monkeypatch.setattr("ldsmc_bench.commands.sweep.save_sheet", lambda path, shown: columns.append(shown) or path)
    assert len([*sheets([Store(root, root.name)])]) == 1
    assert columns[0]["DPS"][1:] == ["failed", "skipped", "missing"]

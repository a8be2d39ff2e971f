"""Sweeps on a real SLURM: the same rows as at home, no more jobs than allowed, and failures told for what they are."""

from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, slurm
from tests.cluster.sweeps import SLURM, assert_whole, open_gates, sweep, told
from tests.commands import Done, records, runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    open_gates(folder, 1, 2)
    return folder


@pytest.fixture(scope="module")
def done(slurm_cluster: Cluster, folder: Path) -> Done:
    """Two runs in two shards each, two jobs at once."""
    points = ("particles=1,2", "shard=range(2)", "shards=2", "n_images=4", "hydra.launcher.array_parallelism=2")
    points = (*points, "hydra.launcher.by_method.gated.mem_gb=3")
    return sweep(folder, *points, *SLURM).done(900)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    open_gates(folder, 1, 2)
    assert sweep(folder, "particles=1,2", "n_images=4").done().code == 0
    return folder


def test_a_sharded_sweep_equals_a_local_one_record_by_record(done: Done, folder: Path, local: Path) -> None:
    assert (done.code, done.errors) == (0, [])
    for run, wanted in zip(runs(folder), runs(local), strict=True):
        assert len(records(run)) == 4
        assert_whole(run, wanted)


def test_the_table_has_one_row_a_run(done: Done) -> None:
    rows = [line.split() for line in done.out.splitlines() if line.strip()[:1] in ("1", "2")]
    assert [(row[0], row[-1]) for row in rows] == [("1", "4"), ("2", "4")]


def test_each_job_was_granted_a_gpu(done: Done, folder: Path) -> None:
    granted = {entry["job"]: entry["CUDA_VISIBLE_DEVICES"] for entry in told(folder)}
    assert len(granted) == 4 and set(granted.values()) <= {"0", "1", "2", "3"}


def test_no_more_jobs_than_the_throttle_allows_ran_at_once(done: Done, folder: Path) -> None:
    jobs = accounted(folder, "Start,End")
    begins, ends = zip(*(line.split("|") for line in jobs), strict=True)
    at_once = [sum(b <= begin < e for b, e in zip(begins, ends, strict=True)) for begin in begins]
    assert len(jobs) == 4 and max(at_once) == 2


def test_a_methods_own_resources_are_asked_for(done: Done, folder: Path) -> None:
    assert set(accounted(folder, "ReqMem")) == {"3G"}


def accounted(folder: Path, columns: str) -> list[str]:
    """A line of SLURM's accounting for each job of the sweep."""
    return slurm("sacct", "-X", "-n", "-P", "-o", columns, "-j", told(folder)[0]["job"].split("_")[0]).splitlines()


def test_failed_points_are_told_with_their_logs_and_take_nothing_from_others(
    slurm_cluster: Cluster, tmp_path: Path
) -> None:
    targets = ",".join(f"tests.samplers.{name}" for name in ("raising", "gated", "dying"))
    done = sweep(tmp_path, f"method.sample._target_={targets}", "n_images=2", *SLURM).done(900)
    assert done.code == 1
    raised, died = done.errors
    assert "samplers.raising: ZeroDivisionError: a mistake of a programmer (log: " in raised
    assert "samplers.dying: the job died, FAILED 7:0 (log: " in died
    assert Path(died.split("(log: ")[1].rstrip(")")).exists()
    (whole,) = (run for run in runs(tmp_path) if (run / "summary.json").exists())
    assert {record["status"] for record in records(whole).values()} == {"ok"} and len(records(whole)) == 2
    assert "gated" in done.out  # the table

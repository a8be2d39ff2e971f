"""Six runs on a real SLURM, each with a disaster of its own, all at once: no row is lost, doubled or changed.

Each is held at its third image until its disaster has come.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.cluster.jobs import job_progress
from ldsmc_bench.records.status import statuses
from tests.cluster.slurm import Cluster, answers, kill_node, slurm, until
from tests.cluster.sweeps import SLURM, assert_whole, by_particles, open_gates, sweep, told
from tests.commands import records, runs
from tests.samplers import HELD

pytestmark = pytest.mark.slow

N = 4
ALL = range(1, 7)  # particles tell the runs apart
REQUEUED, KILLED, CANCELLED, TIMED_OUT, PREEMPTED, BEREFT = ALL


@pytest.fixture(scope="module")
def folder(slurm_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disturbed")
    submit = (f"n_images={N}", *SLURM, "launch=detached")
    sweeps = [
        # With so short a limit, submitit takes each notice of the end for a time-out.
        sweep(folder, "particles=1,2,3,4", *submit, "hydra.launcher.timeout_min=10"),
        sweep(folder, "particles=5", *submit, "hydra.launcher.partition=low"),
        sweep(folder, "particles=6", *submit, "hydra.launcher.partition=frail"),
    ]
    for one in sweeps:
        done = one.done()
        assert done.code == 0 and "submitted" in done.err, done.err
    yield folder
    open_gates(folder, *ALL)  # nobody waits for ever, whatever a test found


@pytest.fixture(scope="module")
def held(folder: Path) -> dict[int, dict[str, Any]]:
    """Who is at the third image of each run."""
    until(lambda: all(told(folder, particles=number, ids=[HELD]) for number in ALL), what="jobs at work")
    return {number: told(folder, particles=number)[-1] for number in ALL}


@pytest.fixture(scope="module")
def status(folder: Path, held: dict[int, Any]) -> dict[int, Any]:
    """What the status command tells then."""
    rows = statuses(folder / "results")
    return {
        row.labels.particles: (row, one)
        for row, one in zip(rows, job_progress(folder / "results", rows)[0], strict=True)
    }


@pytest.fixture(scope="module")
def after(
    folder: Path, slurm_cluster: Cluster, held: dict[int, dict[str, Any]], status: dict[int, Any]
) -> dict[int, Path]:
    """The runs, when all is over."""
    jobs = {number: entry["job"] for number, entry in held.items()}
    kill_node(slurm_cluster, held[BEREFT]["SLURMD_NODENAME"], held[BEREFT]["SLURM_JOB_ID"])
    os.kill(held[KILLED]["pid"], signal.SIGKILL)
    slurm("scontrol", "requeue", jobs[REQUEUED])
    slurm("scancel", jobs[CANCELLED])
    minutes = int(slurm("squeue", "-h", "-o", "%M", "-j", jobs[TIMED_OUT]).split(":")[0])
    slurm("scontrol", "update", f"JobId={jobs[TIMED_OUT]}", f"TimeLimit={minutes + 2}")
    slurm("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    survivors = [number for number in ALL if number != BEREFT]
    until(lambda: not any(alive(held[number]) for number in survivors), what="the end of the disturbed jobs")
    longer = ("scontrol", "update", f"JobId={jobs[TIMED_OUT]}", "TimeLimit=10")
    until(lambda: answers(*longer), what="a job on its way back into the queue")
    open_gates(folder, *survivors)

    resubmitted = sweep(folder, f"particles={CANCELLED}", f"n_images={N}", *SLURM)
    until(lambda: len(told(folder, particles=BEREFT, ids=[HELD])) == 2, what="the double of the job without a node")
    open_gates(folder, BEREFT)
    assert resubmitted.done(900).code == 0
    until(lambda: all((run / "summary.json").exists() for run in runs(folder)), what="summaries of all runs")
    until(lambda: slurm("squeue", "-h") == "" and not alive(held[BEREFT]), what="the end of all jobs")
    return by_particles(folder)


def alive(entry: dict[str, Any]) -> bool:
    return Path(f"/proc/{entry['pid']}").exists()


def said(run: Path) -> str:
    """All that the latest job of a run said, in all its attempts."""
    note = json.loads((run / "jobs" / "0-of-1.json").read_text())
    return "".join(path.read_text() for path in sorted(Path(note["log"]).parent.glob("*_log.*")))


def test_status_tells_of_jobs_that_run(status: dict[int, Any]) -> None:
    for row, one in status.values():
        assert (row.done, row.missing, one.running) == (2, 2, 2)
        assert [job.state for job in one.jobs] == ["RUNNING"] and Path(one.jobs[0].log).exists()


def test_every_run_is_whole(after: dict[int, Path], tmp_path: Path) -> None:
    open_gates(tmp_path, *ALL)
    assert sweep(tmp_path, f"particles={','.join(map(str, ALL))}", f"n_images={N}").done().code == 0
    local = by_particles(tmp_path)
    assert sorted(after) == sorted(local) == list(ALL)
    for number, run in after.items():
        assert len(records(run)) == N
        assert_whole(run, local[number])


@pytest.mark.parametrize("number", ALL)
def test_nothing_but_the_batch_in_hand_was_done_twice(number: int, after: dict[int, Path], folder: Path) -> None:
    times = Counter(image_id for entry in told(folder, particles=number) for image_id in entry["ids"])
    for sketched in [image_id for image_id in times if image_id.startswith("sketch-")]:
        del times[sketched]  # each attempt sketches its work first, which computes nothing
    assert times.pop(HELD) == 2
    # Once the gate is open, the job without a node and its double do the last image too.
    assert max(times.values()) == (2 if number == BEREFT and times["test-000003"] == 2 else 1)


def test_a_requeued_job_stops_by_itself(after: dict[int, Path]) -> None:
    assert "stopped by SIGTERM" in said(after[REQUEUED])


def test_a_preempted_job_asks_to_come_back(after: dict[int, Path]) -> None:
    assert "this job is preempted" in said(after[PREEMPTED])


def test_a_job_out_of_time_asks_to_come_back(after: dict[int, Path]) -> None:
    assert "this job is timed-out" in said(after[TIMED_OUT])


def test_a_job_and_its_double_were_at_the_same_image(after: dict[int, Path], folder: Path) -> None:
    """The node was dead to SLURM, but its process went on beside the one that took its place."""
    entries = told(folder, particles=BEREFT, ids=[HELD])
    assert {entry["SLURMD_NODENAME"] for entry in entries} == {"n2", "n3"}
    assert len({entry["pid"] for entry in entries}) == 2

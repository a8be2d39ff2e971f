"""Sweeps on pretended devices of this machine: the same rows as one after the other, and failures kept apart."""

import os
import signal
from pathlib import Path

import pytest

from ldsmc_bench.cluster.gpus import environment, find_devices, last_line
from ldsmc_bench.errors import UserError
from tests.cluster.slurm import until
from tests.cluster.sweeps import assert_whole, by_particles, open_gates, sweep, told
from tests.commands import records, runs, tiny

DEVICES = ("hydra/launcher=gpus", "hydra.launcher.devices=[cpu,cpu]", "n_images=4")


@pytest.mark.slow
def test_two_processes_share_a_sweep_and_leave_what_one_leaves(tmp_path: Path) -> None:
    at_home, shared = tmp_path / "home", tmp_path / "shared"
    for folder in (at_home, shared):
        folder.mkdir()
    open_gates(at_home, 1)
    assert sweep(at_home, "particles=1", "n_images=4").done().code == 0

    running = sweep(shared, "particles=1", "shard=range(2)", "shards=2", *DEVICES)
    until(lambda: len({entry["pid"] for entry in told(shared)}) == 2, what="two processes at once")  # one is held
    open_gates(shared, 1)
    done = running.done()
    assert (done.code, done.errors) == (0, [])
    assert_whole(runs(shared)[0], runs(at_home)[0])
    assert "2 of 2 done" in done.err


@pytest.mark.slow
def test_failures_take_nothing_from_others_and_the_same_command_goes_on(tmp_path: Path) -> None:
    open_gates(tmp_path, 2)
    targets = ",".join(f"tests.samplers.{name}" for name in ("raising", "gated"))
    points = (f"method.sample._target_={targets}", "particles=1,2", *DEVICES)
    running = sweep(tmp_path, *points)
    until(lambda: told(tmp_path, particles=1), what="a run that waits for its gate")
    os.kill(told(tmp_path, particles=1)[-1]["pid"], signal.SIGKILL)
    done = running.done()
    assert done.code == 1
    killed, *raised = sorted(done.errors, key=lambda line: "died" not in line)
    assert "particles=1" in killed and "the job died, signal 9 (log: " in killed
    assert len(raised) == 2 and all("ZeroDivisionError" in line for line in raised)
    whole = next(run for run in runs(tmp_path) if (run / "summary.json").exists() and by_particles(tmp_path))
    assert len(records(whole)) == 4

    open_gates(tmp_path, 1)
    again = sweep(tmp_path, *points).done()
    assert len(again.errors) == 2 and all("ZeroDivisionError" in line for line in again.errors)


@pytest.mark.slow
def test_a_stop_ends_all_processes_and_keeps_what_is_finished(tmp_path: Path) -> None:
    running = sweep(tmp_path, "particles=1,2", *DEVICES)
    until(lambda: {entry["particles"] for entry in told(tmp_path)} == {1, 2}, what="two processes at work")
    os.kill(running.process.pid, signal.SIGTERM)
    done = running.done()
    assert done.code == 128 + signal.SIGTERM
    assert "the same command goes on from here" in done.err
    for entry in told(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(entry["pid"], 0)


@pytest.mark.slow
def test_submitits_own_launcher_works_too(tmp_path: Path) -> None:
    done = tiny(tmp_path, "-m", "seed=0,1", "n_images=1", "particles=1", "hydra/launcher=submitit_local")
    assert (done.code, done.errors) == (0, [])
    assert [len(records(run)) for run in runs(tmp_path)] == [1, 1]


def test_each_process_sees_its_device_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldsmc_bench.cluster.gpus.cores", lambda: 12)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LDSMC_BENCH_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert environment("3", 4)["CUDA_VISIBLE_DEVICES"] == "3"
    assert environment("cpu", 4)["CUDA_VISIBLE_DEVICES"] == ""
    assert environment("3", 4)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment("3", 4)["OMP_NUM_THREADS"] == "5"


def test_devices_are_those_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_devices("auto") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert find_devices("auto") == ["4", "7"]
    assert find_devices([4, 4, "cpu"]) == ["4", "4", "cpu"]
    for wrong in ([], 2, "all", ["gpu"], [-1]):
        with pytest.raises(UserError, match=r"^hydra\.launcher\.devices="):
            find_devices(wrong)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UserError, match="this machine has 2 GPUs"):
        find_devices([2])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="there is no GPU here"):
        find_devices("auto")


def test_the_last_line_of_a_log_is_the_bar_as_it_is_now(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"begin\n" + b"x" * 9000 + "\r 10%|█ \r 20%|██ \n\n".encode())
    assert last_line(log) == "20%|██"
    log.write_bytes(b"")
    assert last_line(log) == ""

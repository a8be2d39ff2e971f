"""The threads that PyTorch computes with: what limits their number, and that the user's own choice stays."""

import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from ldsmc_bench.run import run
from ldsmc_bench.running import threads
from ldsmc_bench.running.threads import MARK, SPINS, chosen, cores, others_seconds, quota
from tests.commands import TINY, configured

SPIN = {"GOMP_SPINCOUNT": str(SPINS)}


def limited(threads: int) -> dict[str, str]:
    return SPIN | {"OMP_NUM_THREADS": str(threads), MARK: str(threads)}


@pytest.mark.parametrize(
    ("environment", "quota", "expected"),
    [
        ({}, None, SPIN),
        ({}, 8.0, SPIN),  # not below what PyTorch takes by itself
        ({}, 2.0, limited(2)),
        ({}, 1.4, limited(1)),
        ({}, 1.5, limited(2)),
        ({}, 0.2, limited(1)),
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "4"}, None, limited(3)),
        ({"SLURM_CPUS_ON_NODE": "4"}, None, limited(4)),
        ({"SLURM_CPUS_ON_NODE": "4"}, 2.0, limited(2)),
        ({"SLURM_CPUS_PER_TASK": "64"}, None, SPIN),
        ({"SLURM_CPUS_PER_TASK": "many"}, None, SPIN),
        # What the user says stays.
        ({"OMP_NUM_THREADS": "5"}, 2.0, SPIN),
        ({"MKL_NUM_THREADS": "5"}, 2.0, SPIN),
        ({"OMP_WAIT_POLICY": "active"}, None, {}),
        ({"GOMP_SPINCOUNT": "7"}, None, {}),
        ({"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "passive"}, 2.0, {}),
        # A job inherits what was chosen where it was submitted.
        ({"OMP_NUM_THREADS": "2", MARK: "2"}, None, limited(8)),
        ({"OMP_NUM_THREADS": "2", MARK: "2", "SLURM_CPUS_PER_TASK": "6"}, None, limited(6)),
        ({"OMP_NUM_THREADS": "1", MARK: "2"}, None, SPIN),
    ],
)
def test_threads_are_chosen_by_what_is_allowed(
    environment: dict[str, str], quota: float | None, expected: dict[str, str]
) -> None:
    assert chosen(environment, 8, quota) == expected


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("groups", "folders", "expected"),
    [
        ("0::/a/b", {"a": {"cpu__max": "150000 100000"}, "a/b": {"cpu__max": "max 100000"}}, 1.5),
        ("0::/a/b", {"": {"cpu__max": "400000 100000"}, "a/b": {"cpu__max": "200000 100000"}}, 2.0),
        ("0::/", {"": {"cpu__max": "50000 100000"}}, 0.5),
        ("0::/../../other", {"": {"cpu__max": "300000 100000"}}, 3.0),  # of a container that sees its own group alone
        ("0::/a", {"a": {"cpu__max": "max 100000"}}, None),
        ("0::/gone", {}, None),
        ("4:memory:/a\n0::/b", {"a": {"cpu__max": "50000 100000"}, "b": {"cpu__max": "250000 100000"}}, 2.5),
        (None, {}, None),  # not Linux
    ],
)
def test_the_quota_is_the_least_of_all_groups_above(
    groups: str | None, folders: dict[str, dict[str, str]], expected: float | None, tmp_path: Path
) -> None:
    if groups is not None:
        (tmp_path / "groups").write_text(f"{groups}\n")
    for folder, files in folders.items():
        group(tmp_path / "mount" / folder, **files)
    assert quota(tmp_path / "groups", tmp_path / "mount") == expected


def test_cores_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert cores() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7


def test_every_import_of_the_package_chooses_before_pytorch_is_loaded() -> None:
    code = "import os, sys, ldsmc_bench; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    fresh = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    out = subprocess.run([sys.executable, "-c", code], env=fresh, capture_output=True, text=True, check=True).stdout
    assert out == f"{SPINS} False\n"


STAT = """\
cpu  900 900 900 900 900 900 900 900 0 0
cpu0 100 20 50 900 30 1 2 400 0 0
cpu1 200 40 10 900 30 1 2 400 0 0
cpu2 900 900 900 900 900 900 900 900 0 0
intr 1 2 3
"""


def test_the_use_by_others_is_that_of_the_same_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stat").write_text(STAT)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    monkeypatch.setattr(time, "process_time", lambda: 0.5)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    assert others_seconds(tmp_path / "stat") == pytest.approx(3.6 - 0.5)
    monkeypatch.setattr(os, "nice", lambda _: 10)  # then those of the same low priority count
    assert others_seconds(tmp_path / "stat") == pytest.approx(4.2 - 0.5)
    assert others_seconds(tmp_path / "none") == -0.5  # a constant difference, which means no use


@pytest.mark.parametrize(
    ("used", "left"), [(0.0, 4), (0.4, 4), (0.6, 3), (1.9, 2), (3.6, 1), (4.0, 1), (64.0, 1), (-0.1, 4)]
)
def test_threads_are_left_to_others_and_taken_back(used: float, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.passes(10.0, 0.0)
    assert machine.passes(10.0, used) == left
    assert machine.passes(0.1, 4.0) == left  # too short to judge by
    assert machine.passes(10.0, 0.0) == 4


def test_what_others_set_and_the_user_asks_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert machine.passes(10.0, 1.0) == 3
    torch.set_num_threads(2)  # a test, or somebody's script
    assert machine.passes(10.0, 0.0) == 2
    assert machine.passes(10.0, 3.0) == 1
    assert machine.passes(10.0, 0.0) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.passes(10.0, 4.0) == 2


def test_a_run_heeds_the_load_before_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["ldsmc_bench.run"], "heed_load", Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        run(configured(*TINY, "method=latent_dps", f"results_dir={tmp_path}"))


class Machine:
    """Four cores, and what others use of them while time passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.others = 0.0
        self.threads = 4
        monkeypatch.setattr(threads, "_last", threads.Seen(0.0, 0.0))
        monkeypatch.setattr(threads, "cores", lambda: 4)
        monkeypatch.setattr(threads, "others_seconds", lambda: self.others)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(torch, "set_num_threads", lambda number: setattr(self, "threads", number))
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", MARK):
            monkeypatch.delenv(name, raising=False)

    def passes(self, seconds: float, used: float) -> int:
        """The threads after so many seconds in which others used so many cores."""
        self.now += seconds
        self.others += seconds * used
        threads.heed_load()
        return self.threads

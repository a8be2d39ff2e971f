"""The number of threads that PyTorch computes with, and their way of waiting for each other.

They meet thousands of times a second. By default one that waits spins for milliseconds: beside other busy processes
it then keeps the core from the thread that all wait for. Without spinning every meeting costs a wake-up. So they spin
for a moment only, and there are fewer of them where other processes need cores. `python -m
ldsmc_bench.speed.threads` measures what that is worth. Another number of threads rounds sums differently;
OMP_NUM_THREADS fixes the number.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SPINS = 30_000  # turns of the waiting loop: about a millisecond
MARK = "LDSMC_BENCH_THREADS"  # the number chosen here: a job that inherits it on another machine chooses anew
USED, NICED = (1, 3), 2  # columns of /proc/stat: user and system; user at a lower priority
SHORTEST = 0.2  # seconds to judge the load by


@dataclass
class Seen:
    """A look at the load: its time, the CPU seconds of other processes up to then, and the threads that there may be
    and were set. A number that somebody else has set since is the most that there may be."""

    when: float
    others: float
    most: int = 0
    threads: int = 0


_last = Seen(0.0, 0.0)


def set_up() -> None:
    """Choose for this process and for those that it starts. Has no effect once PyTorch is loaded."""
    os.environ.update(chosen(os.environ, cores(), quota()))
    _last.when, _last.others = time.monotonic(), others_seconds()


def chosen(environment: Mapping[str, str], cores: int, quota: float | None) -> dict[str, str]:
    """The variables to set in an environment; what the user has set there stays.

    `cores` is the number of threads that PyTorch takes by itself. It is fewer where SLURM or the `quota` of a control
    group (CPU seconds a second, None for no limit) allow fewer.
    """
    found = {}
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        found["GOMP_SPINCOUNT"] = str(SPINS)
    if not asked_for(environment):
        given = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE") or ""
        limits = [float(quota or cores), float(given) if given.isdigit() else cores]
        threads = max(1, min(cores, *map(round, limits)))
        if threads < cores or MARK in environment:
            found |= {"OMP_NUM_THREADS": str(threads), MARK: str(threads)}
    return found


def asked_for(environment: Mapping[str, str]) -> bool:
    """True if the user has fixed the number of threads."""
    number = environment.get("OMP_NUM_THREADS", "")
    return number != environment.get(MARK, "") or "MKL_NUM_THREADS" in environment


def heed_load() -> None:
    """Leave cores to the processes that have used them since the last look, and take them back when they are free."""
    import torch

    now, others, threads = time.monotonic(), others_seconds(), torch.get_num_threads()
    seconds, used = now - _last.when, others - _last.others
    if seconds < SHORTEST or asked_for(os.environ):
        return
    _last.when, _last.others = now, others
    if threads != _last.threads:
        _last.most = threads
    _last.threads = max(1, min(_last.most, cores() - round(used / seconds)))
    if _last.threads != threads:
        torch.set_num_threads(_last.threads)


def others_seconds(stat: Path = Path("/proc/stat")) -> float:
    """CPU seconds that all other processes have used on the cores that this one may use, since the machine started;
    0 where that is not known. Processes of a lower priority do not count."""
    if not hasattr(os, "sched_getaffinity"):
        return 0.0
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    counted = USED if os.nice(0) <= 0 else (*USED, NICED)
    lines = [line.split() for line in _text(stat).splitlines()]
    ticks = sum(int(line[column]) for line in lines if line[0] in mine for column in counted)
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def cores() -> int:
    """The physical cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({_text(Path(topology.format(cpu))) or str(cpu) for cpu in os.sched_getaffinity(0)})


def quota(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPU seconds a second that this process's control groups allow it, or None for no limit."""
    own = [line.removeprefix("0::") for line in _text(groups).splitlines() if line.startswith("0::")]
    parts = [part for path in own for part in path.split("/") if part not in ("", "..")]
    texts = [_text(mount.joinpath(*parts[:depth], "cpu.max")).split() for depth in range(len(parts) + 1)]
    return min((int(text[0]) / int(text[1]) for text in texts if text and text[0] != "max"), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

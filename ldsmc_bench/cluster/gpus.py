"""Runs a sweep on several devices of one machine: a process a device, one point of the sweep at a time."""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import open_dict
from tqdm import tqdm

from ldsmc_bench.cluster.submit import distinct, note_submitted
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.jobs import Job, keep, launch_of
from ldsmc_bench.running.progress import stoppable
from ldsmc_bench.running.threads import MARK, asked_for, cores

LOOK = 0.2  # seconds between two looks at the processes
PRINT = 15.0  # seconds between two lines of a device where there is no terminal
PATIENCE = 20.0  # seconds that a process may take to stop
LAST = 4096  # bytes of a log, which hold its last line
CHILD = "import sys, cloudpickle; cloudpickle.load(sys.stdin.buffer)()"


@dataclass
class Working:
    """A device's process, and the point that it works on."""

    process: "subprocess.Popen[bytes]"
    job: Job


def run_on_devices(launcher: BaseSubmititLauncher, sweep: Sequence[Sequence[str]], first: int) -> None:
    """Run the points of a sweep, numbered from `first`, on `launcher.params["devices"]`; wait for them.

    Points of the same work are one job. Each job has its note in the launch, however it ended, and a log beside that.
    Raises UserError where there is no such device.
    """
    assert launcher.config is not None
    devices, folder = find_devices(launcher.params["devices"]), Path(launch_of(launcher.config.hydra).folder)
    points = distinct(launcher, sweep, first)
    waiting = deque(Job(one.number, one.overrides, str(folder / f"{one.number}.log")) for one in points)
    note_submitted(folder, list(waiting))
    state, working = Singleton.get_state(), dict[int, Working]()
    with stoppable(), View(names_of(devices), len(points)) as view:
        try:
            while waiting or working:
                for place, device in enumerate(devices):
                    if (one := working.get(place)) and one.process.poll() is not None:
                        del working[place]
                        _note_death(folder, one)
                        view.ended(place, last_line(Path(one.job.log)))
                    if waiting and place not in working:
                        job = waiting.popleft()
                        work = partial(_work, launcher, job.overrides, job.number, state)
                        working[place] = Working(_start(work, Path(job.log), environment(device, len(devices))), job)
                for place, one in working.items():
                    view.show(place, last_line(Path(one.job.log)))
                time.sleep(LOOK)
        finally:
            _stop([one.process for one in working.values()])


def find_devices(asked: Any) -> list[str]:
    """The devices to use, as CUDA names them in CUDA_VISIBLE_DEVICES, or `cpu`. `asked` is `auto` for all GPUs that are
    visible, or a list, in which a device may occur twice.

    Raises UserError where there is no GPU, or `asked` is something else.
    """
    import torch

    if asked != "auto":
        names = [str(one) for one in asked] if isinstance(asked, list) else []
        if not names or not all(re.fullmatch(r"cpu|\d+|(GPU|MIG)-[\w/-]+", name) for name in names):
            raise UserError(f"hydra.launcher.devices={asked}: give auto, GPUs such as [0,1], or [cpu,cpu]")
        there = torch.cuda.device_count()
        if "CUDA_VISIBLE_DEVICES" not in os.environ and any(name.isdigit() and int(name) >= there for name in names):
            raise UserError(f"hydra.launcher.devices={asked}: this machine has {there} GPUs, numbered from 0")
        return names
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", ""):
        found = visible.split(",")[: torch.cuda.device_count()]
    else:
        found = [str(number) for number in range(torch.cuda.device_count())]
    if not found:
        raise UserError(
            "hydra/launcher=gpus: there is no GPU here; leave the launcher out, or give "
            "hydra.launcher.devices=[cpu,cpu] for two processes without a GPU"
        )
    return found


def names_of(devices: Sequence[str]) -> list[str]:
    """Names to print, each once."""
    names = [f"GPU {device}" if device.isdigit() else device for device in devices]
    return [name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names)]


def environment(device: str, processes: int) -> Mapping[str, str]:
    """The variables of a process that sees `device` alone, and shares the cores with as many as there are devices."""
    variables = {key: value for key, value in os.environ.items() if key != MARK}
    if not asked_for(os.environ):
        variables["OMP_NUM_THREADS"] = str(max(1, cores() // processes))
    return {**variables, "CUDA_VISIBLE_DEVICES": "" if device == "cpu" else device}


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; "" while there is none."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST))
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read().decode(errors="replace"))]
    return next((line for line in reversed(lines) if line), "")


class View:
    """Shows the last line of each device's process, in place on a terminal, elsewhere every so often."""

    def __init__(self, devices: Sequence[str], jobs: int) -> None:
        self.devices, self.jobs, self.done, self.bars = devices, jobs, 0, list[Any]()
        self.printed = [0.0 for _ in devices]

    def __enter__(self) -> "View":
        if sys.stderr.isatty():
            self.bars = [tqdm(bar_format="{desc}", position=place) for place in range(len(self.devices))]
        return self

    def __exit__(self, *_: object) -> None:
        for bar in reversed(self.bars):
            bar.leave = False
            bar.close()

    def show(self, place: int, line: str) -> None:
        """Show a line of a running process."""
        if self.bars:
            self.bars[place].set_description_str(f"{self.devices[place]}: {line}")
        elif line and time.monotonic() - self.printed[place] >= PRINT:
            self.printed[place] = time.monotonic()
            print(f"{self.devices[place]}: {line}", file=sys.stderr, flush=True)

    def ended(self, place: int, line: str) -> None:
        """Print the last line of a process, which stays."""
        self.done += 1
        tqdm.write(f"{self.done} of {self.jobs} done, {self.devices[place]}: {line}", file=sys.stderr)


def _work(launcher: BaseSubmititLauncher, overrides: list[str], number: int, state: Any) -> None:
    """One point of a sweep, in a process of its own."""
    assert launcher.config is not None and launcher.hydra_context is not None and launcher.task_function is not None
    Singleton.set_state(state)
    setup_globals()
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, overrides)
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = f"{os.getpid()}", number
    run_job(launcher.task_function, config, "hydra.sweep.dir", "hydra.sweep.subdir", launcher.hydra_context)


def _start(work: partial[None], log: Path, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=out, stderr=out, env=variables
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # it died at once: its exit code says so
        pipe.write(cloudpickle.dumps(work))
    return process


def _note_death(folder: Path, one: Working) -> None:
    """Leave a note for a job that left none, unless it did in this very instant."""
    code = one.process.returncode
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    keep(folder, replace(one.job, error=f"the job died, {how} (log: {one.job.log})"), over=False)


def _stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End processes as a cluster would; those that do not heed it are killed."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()

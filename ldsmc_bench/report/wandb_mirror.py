"""A run in W&B while it is made: starts and ends the process that follows it, and never waits for it in between.

W&B shows what the store holds and nothing depends on it. So sampling writes its files as ever, and all that is said to
the other process is which run begins and when it ends. One process follows all runs of a command, one after the other.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ldsmc_bench.records.store import Store
from ldsmc_bench.report.wandb_part import Part, complete, keep_problem, stands

TIME_LIMIT = 60.0  # seconds for what is still to be sent when a command ends; offline it takes about two
_warned: set[str] = set()  # what this process warned of: nothing twice
_given_up: list[str] = []  # the failure after which W&B is left alone: a sweep must not try run after run
_followers: list["Follower"] = []  # none or one


@contextmanager
def mirrored(part: Part, config: Mapping[str, Any], ids: Sequence[str], *, live: bool) -> Iterator[None]:
    """Mirror a part of a run in W&B, as `config["wandb"]["mode"]` says: while the block makes it if `live`, or after.

    `ids` are all images asked for. A run that W&B has with the same summary is left alone, and `disabled` does nothing.
    Never raises of its own and never asks: if W&B is missing, fails, or is not done `TIME_LIMIT` seconds after the
    command, one warning goes to stderr, and this process tries no further run.
    """
    mode = config["wandb"]["mode"]
    if mode == "disabled":
        yield
        return
    ended_well = False
    if live:
        _begin(part, mode, config, ids)
    try:
        yield
        ended_well = True
    finally:
        if live:
            _say({"ended_well": ended_well})
    if not live and complete(part.store) and not stands(part.store, mode):
        _begin(Part(part.store), mode, config, ids)
        _say({"ended_well": True})


def finish(seconds: float | None = None) -> None:
    """Wait until W&B has what it was given, for `TIME_LIMIT` seconds at most. Called when the process ends."""
    while _followers:
        _followers.pop().finish(TIME_LIMIT if seconds is None else seconds)


class Follower:
    """The other process, and what it was given to follow."""

    def __init__(self) -> None:
        self.given: dict[Store, str] = {}
        self.stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (it lives as long as the process)
        read, self.pipe = os.pipe()
        os.set_blocking(self.pipe, False)  # if the other process stands still, this one does not
        command = [sys.executable, "-m", "ldsmc_bench.report.wandb_follow", str(read), str(TIME_LIMIT)]
        try:
            self.process = subprocess.Popen(
                command,
                pass_fds=[read],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.stderr,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                start_new_session=True,  # Ctrl-C is not for it, and the limit ends W&B's own processes too
            )
        finally:
            os.close(read)

    def say(self, order: Mapping[str, Any]) -> None:
        os.write(self.pipe, (json.dumps(order) + "\n").encode())

    def finish(self, seconds: float) -> None:
        """Let it come to its end, or end it and all that it started after so many seconds; then tell what it said."""
        os.close(self.pipe)
        failure = []
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            failure = [f"it took more than {seconds:g} s"]
        except KeyboardInterrupt:
            failure = ["interrupted"]
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.stderr.seek(0)
        lines = [line for line in self.stderr.read().splitlines() if line.strip()]
        for line in lines:
            if line.startswith("warning: "):
                _warn(line.removeprefix("warning: "))
        if self.process.returncode != 0:
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            _give_up([f"exit code {self.process.returncode}", *lines, *failure, *errors][-1], self.given)


def _begin(part: Part, mode: str, config: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Have a part followed from now on."""
    if _followers and _followers[0].process.poll() is not None:
        finish(0)  # it died
    if _given_up:
        return
    try:
        keep_problem(part.store, config, ids)
        if not _followers:
            _followers.append(Follower())
            atexit.register(finish)
    except OSError as error:
        _give_up(str(error), {part.store: mode})
        return
    _followers[0].given[part.store] = mode
    _say({"root": str(part.store.root.resolve()), "mode": mode, "shard": part.shard, "shards": part.shards})


def _say(order: Mapping[str, Any]) -> None:
    for follower in _followers:
        try:
            follower.say(order)
        except OSError:  # it died, or has not listened for hundreds of runs
            finish(1)


def _give_up(why: str, given: Mapping[Store, str]) -> None:
    _given_up.append(why)
    left = [store for store, mode in given.items() if complete(store) and not stands(store, mode)]
    again = ""
    if left:
        results, mode = Part(left[0]).results_dir, given[left[0]]
        command = f"python -m ldsmc_bench.report.wandb --mode {mode} --results-dir {results}"
        again = f"; to send what is finished: {command} {' '.join(store.run_id for store in left)}"
    _warn(f"W&B is left alone from here on, the results are safe ({why}){again}")


def _warn(line: str) -> None:
    if line not in _warned:
        _warned.add(line)
        print(f"warning: {line}", file=sys.stderr)

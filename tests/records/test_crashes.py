"""Killed at any moment, and any number at a time: nothing is lost, doubled, torn or written twice."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ldsmc_bench.records import store as store_module
from ldsmc_bench.records.pictures import png
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import (
    Store,
    finished,
    image_path,
    keep,
    open_store,
    outcomes,
    read,
    read_image,
    record_path,
)
from tests.records.kept import RUN, hidden, picture, row, snapshot

Step = Callable[[], None]


class Killed(BaseException):
    """What a writer raises from the step at which it dies, and from every later one."""


def at_every_step(patch: pytest.MonkeyPatch, step: Step) -> None:
    """Call `step` before anything that `keep` does to the disk, or asks of it."""

    def stepping(owner, name):
        function = getattr(owner, name)

        def stepped(*arguments, **options):
            step()
            return function(*arguments, **options)

        patch.setattr(owner, name, stepped)

    patch.setattr(os, "fsync", lambda descriptor: step())
    for name in ("link", "replace", "unlink"):
        stepping(os, name)
    for name in ("exists", "read_bytes"):
        stepping(Path, name)
    stepping(store_module, "status_of")


def assert_whole(store: Store) -> None:
    """Every success is complete and finds the picture of the writer that it names."""
    for record in read(store):
        if record["status"] == "ok":
            made = picture(record["image_id"], record["diagnostics"]["writer"])
            assert np.array_equal(read_image(store, record["image_id"]), made)


@pytest.mark.parametrize("before", ["nothing", "a failure", "a torn record"])
@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_writer_killed_at_each_step_in_turn(tmp_path, monkeypatch, before, status):
    def killed_at(store: Store, last: int) -> bool:
        steps = 0

        def step():
            nonlocal steps
            steps += 1
            if steps >= last:
                raise Killed

        with monkeypatch.context() as patch:
            at_every_step(patch, step)
            try:
                keep(store, row("a", status), picture("a"))
            except Killed:
                return True
        return False

    last, alive = 0, False
    while not alive:
        last += 1
        store = open_store(tmp_path / str(last), RUN, "steps: 100\n")
        keep(store, row("z"), picture("z"))
        if before == "a failure":
            keep(store, row("a", "failed"))
        if before == "a torn record":
            (store.root / "records" / "a.json").write_text("{")
        first = finished_files(store)

        alive = not killed_at(store, last)
        assert_whole(store)
        done = finished_files(store)
        assert first.items() <= done.items()

        keep(store, row("a"), picture("a"))
        assert read(store) == [row("a"), row("z")]
        assert_whole(store)
        assert done.items() <= snapshot(store).items()
    assert last > 5


def finished_files(store: Store) -> dict[str, tuple[int, int, bytes]]:
    """The records and pictures that must never be touched again."""
    done = finished(store)
    return {path: file for path, file in snapshot(store).items() if Path(path).stem in done}


@pytest.mark.parametrize("before", ["nothing", "a failure"])
@pytest.mark.parametrize(("slow", "quick"), [("ok", "ok"), ("ok", "failed"), ("failed", "ok")])
def test_a_writer_overtaken_at_each_step_in_turn(tmp_path, monkeypatch, before, slow, quick):
    def overtaken_at(store: Store, last: int) -> dict[str, bool]:
        """Which writer was told that its record stands; the quick one writes just before the slow one's step `last`."""
        steps, stands = 0, {}

        def step():
            nonlocal steps
            steps += 1
            if steps == last:
                stands["quick"] = keep(store, row("a", quick, "quick"), picture("a", "quick"))

        with monkeypatch.context() as patch:
            at_every_step(patch, step)
            stands["slow"] = keep(store, row("a", slow, "slow"), picture("a", "slow"))
        return stands

    last, stands = 1, {"quick": True}
    while "quick" in stands:
        store = open_store(tmp_path / str(last), RUN, "steps: 100\n")
        if before == "a failure":
            keep(store, row("a", "failed", "before"))
        stands = overtaken_at(store, last)
        if "quick" in stands:
            statuses = {"slow": slow, "quick": quick}
            (winner,) = (writer for writer in stands if stands[writer] and statuses[writer] == "ok")
            assert read(store) == [row("a", "ok", winner)], f"step {last}"
            assert_whole(store)
        last += 1
    assert last > 5


class Baton:
    """Lets one writer at a time make one step, and draws whose turn is next. A writer may be drawn to die.

    In some draws a writer makes many steps in a row, so that others sleep through whole calls, as a zombie does.
    """

    def __init__(self, seed: int, writers: set[str], deaths: float) -> None:
        self.random, self.deaths = random.Random(seed), deaths
        self.writers, self.dead = sorted(writers), set[str]()
        self.turn = self.random.choice(self.writers)
        self.stay = self.random.choice([0.0, 0.6, 0.9])
        self.moved = threading.Condition()

    def step(self) -> None:
        me = threading.current_thread().name
        if me not in self.writers:
            return
        with self.moved:
            if me in self.dead or self.random.random() < self.deaths:
                self.dead.add(me)
                raise Killed
            if self.random.random() >= self.stay:
                self.turn = self.random.choice(self.writers)
                self.moved.notify_all()
                self.wait(me)

    def wait(self, me: str) -> None:
        with self.moved:
            assert self.moved.wait_for(lambda: self.turn == me, timeout=30)

    def leave(self, me: str) -> None:
        with self.moved:
            self.writers.remove(me)
            self.turn = self.random.choice(self.writers) if self.writers else ""
            self.moved.notify_all()


def write_together(
    store: Store, records: list[Record], seed: int, deaths: float, patch: pytest.MonkeyPatch
) -> dict[str, int]:
    """Keep the records, one writer each, their steps in an order drawn from `seed`.

    The writers whose success stands, and the inode of the record at the moment when they were told so.
    """
    writers = {record["diagnostics"]["writer"]: record for record in records}
    baton, stands = Baton(seed, set(writers), deaths), dict[str, int]()

    def write(writer: str) -> None:
        baton.wait(writer)
        made = picture("a", "same" if deaths else writer)
        try:
            if keep(store, writers[writer], made) and writers[writer]["status"] == "ok":
                stands[writer] = record_path(store, "a").stat().st_ino
        except Killed:
            pass
        finally:
            baton.leave(writer)

    with patch.context() as steps:
        at_every_step(steps, baton.step)
        threads = [threading.Thread(target=write, name=writer, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    return stands


@pytest.mark.parametrize("before", ["nothing", "a failure", "a picture"])
def test_writers_whose_steps_mix_in_any_order(tmp_path, monkeypatch, before):
    for seed in range(40):
        draw = random.Random(seed)
        statuses = ["ok", *(draw.choice(["ok", "ok", "failed"]) for _ in range(draw.randint(1, 3)))]
        store = open_store(tmp_path / str(seed), RUN, "steps: 100\n")
        if before == "a failure":
            keep(store, row("a", "failed", writer="before"))
        if before == "a picture":
            image_path(store, "a").write_bytes(png(picture("a", "before")))
        records = [row("a", status, writer=str(index)) for index, status in enumerate(statuses)]
        stands = write_together(store, records, seed, 0.0, monkeypatch)
        (record,) = read(store)
        assert record["status"] == "ok", f"seed {seed}"
        assert list(stands) == [record["diagnostics"]["writer"]], f"seed {seed}"
        if "failed" not in statuses:  # a late failure may cover the record for a moment
            assert list(stands.values()) == [record_path(store, "a").stat().st_ino], f"seed {seed}"
        assert_whole(store)
        assert [name for name in hidden(store) if name.endswith(".tmp")] == []


@pytest.mark.parametrize("before", ["nothing", "a failure"])
def test_writers_of_which_some_are_killed(tmp_path, monkeypatch, before):
    survivors = 0
    for seed in range(40):
        store = open_store(tmp_path / str(seed), RUN, "steps: 100\n")
        if before == "a failure":
            keep(store, row("a", "failed"))
        statuses = ["ok", "ok", "failed"] if seed % 2 else ["ok", "ok"]
        records = [row("a", status, writer=str(index)) for index, status in enumerate(statuses)]
        stands = write_together(store, records, seed, 0.08, monkeypatch)
        assert len(stands) <= 1
        open_store(tmp_path / str(seed), RUN, "steps: 100\n")
        if stands:
            survivors += 1
            assert [record["diagnostics"]["writer"] for record in read(store)] == list(stands), f"seed {seed}"
        keep(store, row("a", writer="resumed"), picture("a", "same"))
        assert outcomes(store) == {"a": "ok"}
        assert np.array_equal(read_image(store, "a"), picture("a", "same"))
    assert 5 < survivors < 40


WRITE = """
import os, sys, time
from tests.records.kept import *
from ldsmc_bench.records.store import *

os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote; only a machine does

results, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ids = [f"{index:04}" for index in range(count)]
store = open_store(results, RUN, "steps: 100")
print("ready", flush=True)
sys.stdin.readline()
done = finished(store, ids)
for image_id in ids:
    time.sleep(0.001)  # as sampling would: nobody is through before the others have begun
    if image_id not in done and keep(store, row(image_id, writer=writer), picture(image_id, writer)):
        print(image_id, flush=True)
"""


def ready_writer(results: Path, writer: str, count: int) -> subprocess.Popen[str]:
    """A process that keeps `count` images once it is told to, and prints those of which its record stands."""
    command = [sys.executable, "-c", WRITE, str(results), writer, str(count)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=here)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def test_kill_9_and_resume_until_done(tmp_path):
    count, delays = 400, random.Random(0)
    store = open_store(tmp_path, RUN, "steps: 100")
    partial = 0
    for _ in range(8):
        before = finished_files(store)
        with ready_writer(tmp_path, "one", count) as process:
            go(process)
            while process.poll() is None and len(finished_files(store)) == len(before):
                time.sleep(0.001)
            time.sleep(delays.uniform(0.0, 0.03))
            process.send_signal(signal.SIGKILL)
        partial += 0 < len(finished(store)) < count
        assert_whole(store)
        assert before.items() <= snapshot(store).items()
    assert partial > 0
    before = finished_files(store)
    process = ready_writer(tmp_path, "one", count)
    process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    assert before.items() <= snapshot(store).items()
    assert read(store) == [row(f"{index:04}", writer="one") for index in range(count)]
    assert_whole(store)
    assert len(snapshot(store)) == 1 + 2 * count


@pytest.mark.parametrize("writers", [2, 4])
def test_processes_that_write_the_same_images_at_once(tmp_path, writers):
    count = 300
    store = open_store(tmp_path, RUN, "steps: 100")
    for index in range(0, count, 3):
        keep(store, row(f"{index:04}", "failed"))
    processes = {str(index): ready_writer(tmp_path, str(index), count) for index in range(writers)}
    for process in processes.values():
        go(process)
    kept = {writer: process.communicate(timeout=60)[0].split() for writer, process in processes.items()}
    assert all(process.returncode == 0 for process in processes.values())
    stands = {image_id: writer for writer, images in kept.items() for image_id in images}
    assert sum(map(len, kept.values())) == len(stands) == count
    assert {record["image_id"]: record["diagnostics"]["writer"] for record in read(store)} == stands
    assert len(set(stands.values())) > 1
    assert_whole(store)

"""Killed, doubled, split into shards or asked for more: the same command goes on, and the end is the same."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.records.status import statuses
from tests.commands import (
    LIGHT,
    TINY,
    Files,
    Running,
    files,
    images,
    records,
    repeatable,
    runs,
    start,
    tiny,
    whole_run,
)

FOUR = (*LIGHT, "n_images=4", "batch_size=2")  # two batches


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others must equal."""
    return whole_run(tmp_path_factory.mktemp("undisturbed"), *FOUR)


def assert_equal(run: Path, other: Path) -> None:
    """The same pictures, byte for byte, the same records but for the seconds, the same summary."""
    assert run.name == other.name
    assert images(run) == images(other)
    assert repeatable(run) == repeatable(other)
    assert timeless(run) == timeless(other)


def timeless(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text())
    del summary["cost"]["seconds"]
    return summary


def finished(folder: Path) -> Files:
    """The files that nobody may touch again: records that say ok, and their pictures."""
    (run,) = runs(folder) or [folder]
    ok = {name for name, record in records(run).items() if record["status"] == "ok"}
    return {name: file for name, file in files(run).items() if Path(name).stem in ok}


def end_at(last: int, by: signal.Signals) -> None:
    """Signal this process just before it gives, for the `last` time, a file of the store its name."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this
    steps = 0

    def counted(function: Callable[..., None]) -> Callable[..., None]:
        def naming(*arguments: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), by)
            function(*arguments)

        return naming

    from ldsmc_bench import files

    os_module = files.os  # type: ignore[attr-defined]
    os_module.link, os_module.replace = counted(os.link), counted(os.replace)


@pytest.mark.parametrize(
    "moments", [(1, 2, 5, 10, 11), (24,), *(pytest.param(at, marks=pytest.mark.slow) for at in ((20,), (25,)))]
)
def test_killed_again_and_again(undisturbed: Path, tmp_path: Path, moments: tuple[int, ...]) -> None:
    """With the configuration (1), the problem (2), the request (3), a truth, measurement or mask (4 to 9), a picture
    (10), a record (11) … the summary (24), the sheet (25) half way, each time given the same command."""
    before = Files()
    for moment in moments:
        done = tiny(tmp_path, *FOUR, first=partial(end_at, moment, signal.SIGKILL))
        assert done.code == -signal.SIGKILL, done.err
        assert before.items() <= finished(tmp_path).items()
        before = finished(tmp_path)
    assert tiny(tmp_path, *FOUR).code == 0
    assert before.items() <= finished(tmp_path).items()
    assert_equal(*runs(tmp_path), undisturbed)


@pytest.mark.slow
def test_killed_in_the_midst_of_computing(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """With networks, so that there is a midst."""
    four, other = FOUR[len(LIGHT) :], tmp_path_factory.mktemp("other")
    assert tiny(other, *four).code == 0
    for count in (0, 2):  # before the first record, and after the first batch
        running = start(tmp_path, *TINY, *four)
        wait_for(running, partial(progressed, tmp_path, count))
        running.process.kill()
        assert running.done().code == -signal.SIGKILL
        assert len(records(*runs(tmp_path))) < 4
    before = finished(tmp_path)
    assert len(before) >= 2 * 2
    assert tiny(tmp_path, *four).code == 0
    assert before.items() <= finished(tmp_path).items()
    assert_equal(*runs(tmp_path), *runs(other))


def progressed(folder: Path, count: int) -> bool:
    """The run has begun and has as many records."""
    begun = list((folder / "results" / "runs").glob("*/requested.json"))
    return bool(begun) and len(list((begun[0].parent / "records").glob("*.json"))) >= count


def wait_for(running: Running, condition: Callable[[], bool]) -> None:
    for _ in range(60_000):
        if condition():
            return
        assert running.process.is_alive(), running.err.read_text()
        time.sleep(0.002)
    raise AssertionError("waited in vain")


def test_stopped_by_ctrl_c(undisturbed: Path, tmp_path: Path) -> None:
    done = tiny(tmp_path, *FOUR, first=partial(end_at, 22, signal.SIGINT))
    assert done.code == 1
    assert re.fullmatch(
        r"stopped; work on \d of 2 images in the running batch is lost .*; the same command goes on from here",
        done.err.splitlines()[-1],
    )
    assert "Traceback" not in done.err
    before = finished(tmp_path)
    assert before
    assert tiny(tmp_path, *FOUR).code == 0
    assert before.items() <= finished(tmp_path).items()
    assert_equal(*runs(tmp_path), undisturbed)


def test_the_same_command_again_changes_nothing(undisturbed: Path) -> None:
    everything = [path for path in undisturbed.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in everything}
    done = tiny(undisturbed.parents[2], *FOUR)
    assert done.code == 0
    assert "PSNR" in done.out
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in everything} == before


def test_two_processes_given_the_same_run_at_once(undisturbed: Path, tmp_path: Path) -> None:
    together = [start(tmp_path, *TINY, *FOUR) for _ in range(2)]
    for running in together:
        done = running.done()
        assert (done.code, done.errors) == (0, [])
        assert "PSNR" in done.out
    (run,) = runs(tmp_path)
    assert len(records(run)) == 4
    assert not list(run.rglob(".*.tmp"))
    assert_equal(run, undisturbed)


def test_two_different_commands_of_the_same_moment_report_each_its_own(tmp_path: Path) -> None:
    together = {task: start(tmp_path, *TINY, *LIGHT, f"task={task}", "n_images=1") for task in ("denoise", "sr4")}
    for task, running in together.items():
        done = running.done()
        assert done.code == 0, done.err
        assert f"task={task} " in done.out
    assert len(list((tmp_path / "results" / "logs").iterdir())) == 2


def test_more_images_fill_in_the_same_run(undisturbed: Path, tmp_path: Path) -> None:
    assert tiny(tmp_path, *LIGHT, "n_images=2").code == 0
    (run,) = runs(tmp_path)
    before = finished(tmp_path)
    assert timeless(run)["n"] == 2
    assert tiny(tmp_path, *LIGHT, "n_images=4").code == 0
    assert before.items() <= finished(tmp_path).items()
    assert_equal(run, undisturbed)
    assert tiny(tmp_path, *LIGHT, "n_images=2").code == 0  # fewer again: nothing is taken away
    assert_equal(run, undisturbed)


def test_a_picture_damaged_later_is_named_and_made_anew_as_the_line_says(undisturbed: Path, tmp_path: Path) -> None:
    assert tiny(tmp_path, *FOUR).code == 0
    (run,) = runs(tmp_path)
    picture, record = run / "images" / "test-000002.png", run / "records" / "test-000002.json"
    picture.write_bytes(picture.read_bytes()[:500])
    done = tiny(tmp_path, *FOUR)
    assert done.code == 2
    (line,) = done.errors
    assert f"{picture.relative_to(tmp_path)} is absent or damaged: remove" in line
    assert "Traceback" not in done.err
    picture.unlink()
    record.unlink()
    assert tiny(tmp_path, *FOUR).code == 0
    assert_equal(run, undisturbed)


def test_a_limit_ends_each_run_of_a_sweep_early_and_the_same_command_ends_as_if_it_had_not(
    undisturbed: Path, tmp_path: Path
) -> None:
    done = tiny(tmp_path, *FOUR, "call_limit=1", "-m", "seed=0,1")
    assert (done.code, done.errors) == (0, [])
    assert done.err.count("stopped by call_limit=1, 2 images done, 2 left; the same command goes on from here") == 2
    assert "100%" not in done.err
    assert done.out.count("not whole yet, the same command goes on") == 4  # after each run, and in the end
    assert [(one.done, one.missing, one.complete) for one in statuses(tmp_path / "results")] == [(2, 2, False)] * 2
    before = finished(tmp_path / "results" / "runs" / undisturbed.name)
    assert tiny(tmp_path, *FOUR, "call_limit=1", "time_limit=60").code == 0
    (run,) = [one for one in runs(tmp_path) if one.name == undisturbed.name]
    assert before.items() <= finished(run).items()
    assert_equal(run, undisturbed)


def test_shards_are_one_run(tmp_path: Path) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    for folder in (whole, split):
        folder.mkdir()
    exact = (*LIGHT, "precision=fp64", "n_images=2", "batch_size=2")
    assert tiny(whole, *exact).code == 0
    done = tiny(split, *exact, "-m", "shard=0,1", "shards=2")
    assert (done.code, done.errors) == (0, [])
    assert done.out.count("PSNR=") == done.out.count("PSNR ") == done.out.count("sheet: ") == 1
    (run,), (other,) = runs(split), runs(whole)
    assert run.name == other.name
    assert images(run) == images(other)
    assert timeless(run)["n"] == 2
    for image_id, record in records(other).items():
        metrics = records(run)[image_id]["metrics"]
        assert metrics == pytest.approx(record["metrics"], abs=1e-6)
        assert records(run)[image_id]["diagnostics"]["ess"] == pytest.approx(record["diagnostics"]["ess"], abs=1e-6)


def test_a_run_has_its_summary_once_its_last_shard_is_done(tmp_path: Path) -> None:
    assert tiny(tmp_path, *LIGHT, "n_images=1", "particles=1").code == 0
    first = tiny(tmp_path, *LIGHT, "n_images=3", "particles=1", "shard=0", "shards=2")
    assert first.code == 0
    assert "this shard is done, others are not yet" in first.out
    assert "PSNR" not in first.out, "the summary of fewer images is not the summary of this run"
    last = tiny(tmp_path, *LIGHT, "n_images=3", "particles=1", "shard=1", "shards=2")
    assert last.code == 0
    assert "PSNR" in last.out
    assert timeless(*runs(tmp_path))["n"] == 3

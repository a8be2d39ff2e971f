"""W&B as a mirror of the store: what real offline files hold, read by wandb itself, and that no failure passes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ldsmc_bench import toyfaces
from ldsmc_bench.errors import notify
from ldsmc_bench.records.problems import keep_problem, open_problem
from ldsmc_bench.records.record import Record, RunLabels
from ldsmc_bench.records.status import Request, request
from ldsmc_bench.records.store import Store, keep, open_store, read, record_path, write_summary
from ldsmc_bench.records.summary import summarise
from ldsmc_bench.tracking import follow as tracking
from ldsmc_bench.tracking.follow import Upload, finish, observe, quiet
from tests.commands import Running, start
from tests.report.stored import measured
from tests.tracking.wandb_server import serving

RUN_ID = "ldsmc-box-toyfaces-0123456789ab"
CONFIG = {"protocol": 1, "method": {"name": "ldsmc", "sample": {"particles": 5}}, "task": {"name": "box"}, "seed": 3}
CONFIG |= {"measurement": {}, "dataset": {"name": "toyfaces"}}
LABELS: dict[str, Any] = {
    "method": "ldsmc",
    "task": "box",
    "dataset": "toyfaces",
    "seed": 3,
    "steps": 6,
    "particles": 5,
}
LABELS |= {"variant": "paper"}
IDS = [f"test-{image:06d}" for image in range(20)]
STEPS = LABELS["steps"]
ESS = np.random.default_rng(0).uniform(1, 5, (20, STEPS))
RESAMPLED = np.random.default_rng(1).integers(0, 2, (20, STEPS))

PATIENCE = 300.0  # seconds, for what takes two where the machine has nothing else to do

STUB = """
class Table: ...
class Image: ...
class Run: ...
class Settings:
    def __init__(self, **_): ...
def login(**_): return False
"""
FAILURES = {
    "missing": "raise ImportError('no wandb here')",
    "failing": STUB + "def init(**_):\n    print('noise')\n    raise RuntimeError('429\\ntoo many requests')",
    "asking": STUB + "def init(**_): input('your key? ')",
    "crashing": STUB + "import os\ndef init(**_): os.abort()",
}
HANGING = """
import os, pathlib, subprocess, time
def init(**_):
    child = subprocess.Popen(['sleep', '100'])
    pathlib.Path(os.environ['PIDS']).write_text(f'{os.getpid()} {child.pid}')
    time.sleep(100)
"""


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that has not warned yet, of a user without key or settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    notify.cache_clear()
    monkeypatch.setattr(tracking, "TIME_LIMIT", PATIENCE)
    before = dict(os.environ)
    yield
    finish()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    notes = "# commit: abc\n# machine: a slow one\n# device: a GPU\n"
    return open_store(tmp_path / "results", RUN_ID, notes + yaml.safe_dump(CONFIG))


@pytest.fixture
def store(empty: Store) -> Store:
    """Three restored images and a failed one."""
    for image in range(3):
        keep(empty, row(image), picture(image))
    keep(empty, failed(3))
    conclude(empty)
    return empty


def row(image: int) -> Record:
    return {
        "run_id": RUN_ID,
        "image_id": IDS[image],
        **LABELS,
        "status": "ok",
        "metrics": {"psnr": 20.0 + image},
        "cost": {"seconds": 1.5},
        "diagnostics": {"ess": ESS[image].tolist(), "resampled": RESAMPLED[image].astype(bool).tolist()},
    }  # type: ignore[typeddict-item]


def failed(image: int) -> Record:
    return row(image) | {"status": "failed", "error": "unreadable", "metrics": {}, "cost": {}, "diagnostics": {}}  # type: ignore[return-value]


def picture(image: int) -> np.ndarray:
    return np.full((64, 64, 3), 10 * image, dtype=np.uint8)


def conclude(store: Store) -> None:
    summary = summarise(read(store), {"toyfaces_fid": 3.25, "reference": "toyfaces", "warning": None})
    write_summary(store, {**summary, "networks": {"toyfaces_fid": "12ab"}})


def making(store: Store, mode: str = "offline", live: bool = True) -> AbstractContextManager[None]:
    """What a command does around a run; one that is not live has nothing left to do."""
    settings = SimpleNamespace(config={"wandb": {"mode": mode}}, device=torch.device("cpu"))
    return observe(SimpleNamespace(settings=settings, store=store, batches=[IDS] if live else []))  # type: ignore[arg-type]


def upload(store: Store, mode: str = "offline", live: bool = False) -> None:
    """What a command does that finds the run finished already."""
    with making(store, mode, live):
        pass
    finish()


def folders(store: Store) -> list[Path]:
    return sorted(path for path in (store.root.parent.parent / "wandb").glob("*run-2*"))


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What wandb's own reader finds in the file of a run."""
    program = Path(str(importlib.util.find_spec("wandb").origin)).parent / "bin" / "wandb-core"  # type: ignore[union-attr]
    (file,) = folder.glob("*.wandb")
    command = [str(program), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_kind(kind: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def history_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["item"] for line in of_kind("history", records)]


def rows_of(store: Store) -> list[str]:
    return (store.root.parent.parent / "wandb" / f"{RUN_ID}.rows").read_text().splitlines()


def pretend(wandb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *others: str) -> None:
    """Let new processes find this package in the place of wandb, and their other ones in these folders."""
    (tmp_path / "fake" / "wandb").mkdir(parents=True)
    (tmp_path / "fake" / "wandb" / "__init__.py").write_text(wandb)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "fake"), *others]))


def send_run(upload: Upload, ending: Callable[[], bool | None] = lambda: False) -> None:
    from ldsmc_bench.tracking.send import send  # wandb takes its settings when it is imported

    send(upload, ending)


def happening(*events: Callable[[], object]) -> Callable[[], bool | None]:
    """An `ending` for `send`: one event before each look, the end, a good one, with the last."""
    left = list(events)

    def ending() -> bool | None:
        left.pop(0)()
        return None if left else True

    return ending


def test_a_run_is_sent_while_it_grows(
    empty: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """18 images come in three batches, not in the order of their names, and one fails."""
    monkeypatch.setenv("WANDB_TAGS", "mine")
    problem = open_problem(empty.results_dir, CONFIG)
    for image_id in IDS:
        truth = toyfaces.array(image_id)
        keep_problem(problem, image_id, {"truth": truth, "measurement": measured(truth, "box")})
    request(empty, Request((19,), RunLabels(**LABELS), tuple(IDS[:16])))
    order = [*range(9, 18), *range(5), *range(5, 9)]
    known = []

    def batch(images: Sequence[int]) -> None:
        known.append(rows_of(empty))
        for image in images:
            other = {"truth": "0" * 16} if image == 5 else {}  # since then the picture was exchanged
            keep(empty, row(image) | other, picture(image), np.full((64, 64), 20, np.uint8))  # type: ignore[arg-type]

    def end() -> None:
        batch(order[14:])
        keep(empty, failed(18))
        conclude(empty)

    with quiet():
        send_run(Upload(empty), happening(lambda: batch(order[:9]), lambda: batch(order[9:14]), end))
    assert capfd.readouterr() == ("", "")
    assert known == [[], [IDS[i] for i in order[:9]], [IDS[i] for i in order[:14]]]
    (folder,) = folders(empty)
    records = records_of(folder)

    (run,) = of_kind("run", records)
    assert (run["run_id"], run["resume"], run["run_group"]) == (RUN_ID, True, "ldsmc/box/paper")
    assert run["display_name"] == "ldsmc/box/toyfaces N=5 paper"
    assert run["tags"] == ["ldsmc", "box", "toyfaces", "N=5", "paper", "mine"]
    config = run["config"]["update"]
    assert {key: config[key] for key in LABELS} == LABELS
    assert (config["n_images"], config["commit"], config["device"]) == (19, "abc", "a GPU")
    assert config["sample"] == CONFIG["method"]["sample"]  # type: ignore[index]
    assert config["identity"] == CONFIG | {"method": {"name": "ldsmc"}}
    assert run["notes"] == "commit: abc\nmachine: a slow one\ndevice: a GPU"
    assert not of_kind("stats", records)  # the job has no GPU
    assert of_kind("exit", records)[0]["exit_code"] == 0

    history = history_of(records)
    assert [item["_step"] for item in history] == list(range(18 + STEPS + 1))
    images, smc, last = history[:18], history[18:-1], history[-1]
    psnr = 20.0 + np.array(order)
    assert [item["images"] for item in images] == list(range(1, 19))
    assert [item["image/psnr"] for item in images] == psnr.tolist()
    np.testing.assert_allclose([item["psnr"] for item in images], psnr.cumsum() / np.arange(1, 19))
    np.testing.assert_allclose([item["image/ess"] for item in images], ESS[order].mean(axis=1))
    assert {item["running/seconds"] for item in images} == {item["image/seconds"] for item in images} == {1.5}
    first = {key for key in images[0] if "/" not in key and key[0] != "_"}  # W&B's first section
    assert first == {"images", "psnr", "ess"}
    assert [item["smc/step"] for item in smc] == list(range(STEPS))
    np.testing.assert_allclose([item["smc/ess"] for item in smc], ESS[:18].mean(axis=0))
    np.testing.assert_allclose([item["smc/resampled"] for item in smc], RESAMPLED[:18].mean(axis=0))

    summary: dict[str, Any] = {}
    for item in of_kind("summary", records):
        summary |= item["update"]
    assert summary["metrics/psnr"] == pytest.approx(psnr.mean())
    assert summary["metrics/psnr_se"] == pytest.approx(psnr.std(ddof=1) / 18**0.5)
    assert (summary["cost/seconds"], summary["sets/toyfaces_fid"]) == (1.5, 3.25)
    assert summary["networks/toyfaces_fid"] == "12ab"
    assert (summary["n"], summary["n_failed"], summary["psnr"]) == (18, 1, pytest.approx(psnr.mean()))
    assert "image/psnr" not in summary

    table = json.loads((folder / "files" / last["rows.path"]).read_text())
    rows = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["image_id"] for line in rows] == IDS[:19]
    assert rows[7].pop("picture") and rows[7] == {
        **{"image_id": IDS[7], "status": "ok", "error": None, "psnr": 27.0, "seconds": 1.5}
    }
    assert (rows[18]["error"], rows[18]["psnr"], rows[18]["picture"]) == ("unreadable", None, None)
    (artifact,) = of_kind("artifact", records)  # has the pictures, and lies where `wandb sync` finds them later
    files = {one["path"]: Path(one["local_path"]) for one in artifact["manifest"]["contents"]}
    assert all(folder in path.parents and path.exists() for path in files.values())
    table = json.loads(files["rows.table.json"].read_text())
    shown = [line[-1] and files[line[-1]["path"]] for line in table["data"]]
    assert [bool(path) for path in shown] == [True] * 18 + [False]
    assert Image.open(shown[3]).size == (268, 64)
    assert np.abs(np.asarray(Image.open(shown[3]))[8:56, 144:192].astype(int) - picture(3)[8:56, 8:56]).max() < 9

    # The panel: truth, measurement and reconstruction of the first 16 images of the data set, each once.
    shown = [key for item in images for key in item if key.endswith(".path")]
    assert shown == [f"panel/{i:02d}.path" for i in order if i < 16]
    (panel,) = [item for item in images if "panel/03.path" in item]
    places = "truth | measurement | reconstruction | particles' spread x4"
    assert panel["panel/03.caption"] == f"{IDS[3]}: {places} (ldsmc N=5)"
    (exchanged,) = [item for item in images if "panel/05.path" in item]
    assert exchanged["panel/05.caption"].startswith(f"{IDS[5]}: reconstruction |")
    pixels = np.asarray(Image.open(folder / "files" / panel["panel/03.path"]))
    truth, seen, restored, spread = (pixels[:, start : start + 256][2::4, 2::4] for start in (0, 260, 520, 780))
    assert pixels.shape == (256, 1036, 3)
    np.testing.assert_array_equal(truth, toyfaces.array(IDS[3]))
    np.testing.assert_array_equal(restored, picture(3))
    np.testing.assert_array_equal(spread, np.full((64, 64, 3), 4 * 20))
    hole = (seen == 128).all(axis=2)
    assert 0.1 < hole.mean() < 0.5
    assert np.abs(seen.astype(int) - truth)[~hole].mean() < 10


def test_a_run_goes_on_where_it_stopped(empty: Store) -> None:
    """Offline each folder holds all; more images after the end are added, and there is one folder in the end."""
    for image in range(2):
        keep(empty, row(image), picture(image))
    with quiet():
        send_run(Upload(empty))
    (first,) = folders(empty)
    broken_off = records_of(first)
    assert of_kind("exit", broken_off)[0]["exit_code"] == 1
    assert [item["image/psnr"] for item in history_of(broken_off)] == [20, 21]

    keep(empty, row(2), picture(2))
    conclude(empty)
    upload(empty)
    (second,) = folders(empty)
    assert [item.get("image/psnr") for item in history_of(records_of(second))] == [20, 21, 22, *[None] * (STEPS + 1)]
    upload(empty)
    assert folders(empty) == [second]  # W&B has it

    keep(empty, row(3), picture(3))
    conclude(empty)
    upload(empty)
    (third,) = folders(empty)
    assert not {first, second} & {third}
    assert [item["image/psnr"] for item in history_of(records_of(third))[:4]] == [20, 21, 22, 23]


def make(store: Store, images: Sequence[int], then: str, time_limit: float) -> None:
    """What a job does in a process of its own: it prints its follower, keeps images, and ends or waits to be killed."""
    tracking.TIME_LIMIT = time_limit
    with making(store):
        for image in images:
            keep(store, row(image), picture(image))
        print(tracking._follower.process.pid, flush=True)  # type: ignore[union-attr]
        if then == "wait":
            time.sleep(100)
        conclude(store)
    finish()
    sys.exit()


def job(store: Store, images: Sequence[int], then: str, time_limit: float = PATIENCE) -> tuple[Running, str]:
    """A job, and the process of its follower."""
    running = start(store.results_dir.parent, first=partial(make, store, images, then, time_limit))
    until(lambda: running.out.exists() and running.out.read_text().endswith("\n"))
    return running, running.out.read_text().strip()


def test_kill_9_and_resume(empty: Store) -> None:
    """The follower outlives its job only to send what is there; the next job sends each row once, to the same run."""
    killed, follower = job(empty, [0, 1], "wait")
    killed.process.kill()
    until(lambda: not alive(follower))
    (first,) = folders(empty)
    records = records_of(first)
    assert (of_kind("run", records)[0]["run_id"], of_kind("exit", records)[0]["exit_code"]) == (RUN_ID, 1)
    assert [item["image/psnr"] for item in history_of(records)] == [20, 21]

    resumed, _ = job(empty, [2, 3], "end")
    assert resumed.done().code == 0
    (second,) = folders(empty)
    records = records_of(second)
    assert (of_kind("run", records)[0]["run_id"], of_kind("exit", records)[0]["exit_code"]) == (RUN_ID, 0)
    assert [item.get("image/psnr") for item in history_of(records)] == [20, 21, 22, 23, *[None] * (STEPS + 1)]


def send_and_die(store: Store) -> None:
    os.setsid()
    with quiet():
        send_run(Upload(store), happening(lambda: None, lambda: os.killpg(0, signal.SIGKILL)))


def test_a_mirror_that_was_killed_is_made_again(store: Store) -> None:
    """The follower and W&B's own process are killed in the middle of it, as with the whole machine."""
    killed = start(store.results_dir.parent, first=partial(send_and_die, store)).done()
    assert killed.code == -signal.SIGKILL
    (broken_off,) = folders(store)
    assert rows_of(store) == IDS[:3]
    upload(store)
    (whole,) = folders(store)
    assert whole != broken_off
    records = records_of(whole)
    assert of_kind("exit", records)[0]["exit_code"] == 0
    assert [item["_step"] for item in history_of(records)] == list(range(3 + STEPS + 1))


def make_a_shard(store: Store, shard: int) -> None:
    """What the job of a shard of two does; the last one concludes the run."""
    tracking.TIME_LIMIT = PATIENCE
    with making(store):
        print(f"shard {shard}", file=sys.stderr)
        for image in (shard, shard + 2):
            until(lambda image=image: image == 0 or (record_path(store, IDS[image - 1])).exists())  # type: ignore[misc]
            keep(store, row(image), picture(image))
        if shard == 1:
            conclude(store)
        else:
            until((store.root / "summary.json").exists)
    finish()
    sys.exit()


def test_shards_are_one_wandb_run(empty: Store) -> None:
    """Two jobs at once: no image comes twice, and no folder is left of the one that waited."""
    jobs = [start(empty.results_dir.parent, first=partial(make_a_shard, empty, shard)) for shard in (0, 1)]
    for one in jobs:
        done = one.done()
        assert (done.code, done.out) == (0, "") and len(done.err.splitlines()) == 1
    (folder,) = folders(empty)
    records = records_of(folder)
    assert [item.get("image/psnr") for item in history_of(records)] == [20, 21, 22, 23, *[None] * (STEPS + 1)]
    assert [record["exit_code"] for record in of_kind("exit", records)] == [0]
    printed = "".join(line["line"] for line in of_kind("output_logger", records))
    assert sorted(line for line in printed.splitlines() if line.startswith("shard")) == ["shard 0", "shard 1"]


def test_the_console_is_kept(empty: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """Of both commands that made the run; what is printed outside is not of it."""
    for image in (0, 1):
        print("before")
        with making(empty):
            print(f"image {image}")
            print(f"bar {image}0%\rbar {image}1%", file=sys.stderr)
            keep(empty, row(image), picture(image))
        finish()
    out, err = capfd.readouterr()
    assert out.split("\n") == ["before", "image 0", "before", "image 1", ""] and err.count("bar") == 4
    (folder,) = folders(empty)
    printed = "".join(line["line"] for line in of_kind("output_logger", records_of(folder)))
    lines = [line for line in printed.split("\n") if line and not line.startswith("$ ")]
    assert lines == ["image 0", "bar 01%", "image 1", "bar 11%"]
    assert printed.count("$ ") == 2


def test_system_metrics_are_those_of_a_job_with_a_gpu(store: Store) -> None:
    """Of the command's process, not of its follower's; there is no GPU here, but processor and memory."""
    with quiet():
        send_run(Upload(store, gpu=True), happening(lambda: time.sleep(1), lambda: None))
    (folder,) = folders(store)
    found = of_kind("stats", records_of(folder))
    assert found and {"proc.memory.rssMB", "memory_percent"} <= found[0]["item"].keys()


def test_the_command_sends_any_finished_run_again(store: Store) -> None:
    """Beside it a run that failed throughout is sent too; an unfinished and an unknown one are named."""
    broken = open_store(store.root.parent.parent, "dps-box-toyfaces-ba9876543210", yaml.safe_dump(CONFIG))
    keep(broken, failed(0) | {"run_id": broken.run_id})  # type: ignore[arg-type]
    write_summary(broken, summarise(read(broken), {}))
    open_store(store.root.parent.parent, "unfinished", yaml.safe_dump(CONFIG))

    upload(store)
    before = folders(store)
    again = ("nowhere", "unfinished", RUN_ID, broken.run_id)
    done = start(store.results_dir.parent, *again, module="ldsmc_bench.tracking").done()
    assert done.code == 1
    assert [line.split(":")[1].strip() for line in done.err.splitlines()] == ["nowhere", "unfinished"]
    assert [line.split(":")[0] for line in done.out.splitlines()] == [RUN_ID, broken.run_id]
    after = folders(store)
    assert sorted(path.name.split("-", 3)[3] for path in after) == sorted([RUN_ID, broken.run_id])
    assert not set(before) & set(after)
    upload(store)  # knows of it
    assert folders(store) == after
    listed = [sys.executable, "-m", "wandb", "sync", "--dry-run", *after]  # as the shell reads offline-run-*
    found = subprocess.run(listed, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert "sync 2 run" in found.stderr and all(f"run-{name}.wandb" in found.stderr for name in (RUN_ID, broken.run_id))


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_warning(
    failure: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(FAILURES[failure], tmp_path, monkeypatch)
    upload(store, live=True)
    upload(Store(store.root, RUN_ID), live=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: W&B is left alone")
    assert len(err.splitlines()) == 1
    reasons = {"missing": "no wandb here", "failing": "429 too many requests", "asking": "EOF", "crashing": "exit code"}
    assert reasons[failure] in err
    assert f"python -m ldsmc_bench wandb mode=offline results_dir={tmp_path}/results {RUN_ID}" in err
    assert not folders(store)


def test_a_hanging_wandb_is_ended_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The runs of a command do not wait for it; its end does, for so long, and nothing is left of it."""
    pretend(STUB + HANGING, tmp_path, monkeypatch)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(tracking, "TIME_LIMIT", 4.0)
    with making(store):
        until((tmp_path / "pids").exists)
    started = time.monotonic()
    upload(store)
    assert time.monotonic() - started < 100  # as long as it would hang
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "more than 4 s" in err
    pids = (tmp_path / "pids").read_text().split()
    until(lambda: not any(map(alive, pids)))


def test_a_hanging_wandb_dies_after_its_job(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job was killed, so nobody is there to end it."""
    pretend(STUB + HANGING, tmp_path, monkeypatch, os.getcwd())
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    killed, _ = job(store, [0], "wait", time_limit=0.1)
    until((tmp_path / "pids").exists)
    killed.process.kill()
    pids = (tmp_path / "pids").read_text().split()
    until(lambda: not any(map(alive, pids)))


def test_a_sweep_waits_once_and_gives_up_after_the_first_failure(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No run waits for W&B, one process sends all, and all are named in the warning."""
    pretend(STUB + HANGING, tmp_path, monkeypatch)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(tracking, "TIME_LIMIT", 1.0)
    stores = [open_store(store.results_dir, f"{RUN_ID}-{number}", yaml.safe_dump(CONFIG)) for number in range(8)]
    started, followers = time.monotonic(), set()
    for number, one in enumerate(stores):
        with making(one, live=number % 2 == 0):
            keep(one, failed(0) | {"run_id": one.run_id})  # type: ignore[arg-type]
            write_summary(one, summarise(read(one), {}))
        followers.add(tracking._follower.process.pid)  # type: ignore[union-attr]
    for _ in range(300):  # more than a pipe holds
        with making(stores[0], live=False):
            pass
    sampled = time.monotonic()
    finish()
    assert len(followers) == 1
    assert time.monotonic() - sampled < 1.0 * len(stores) and sampled - started < 20
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.split()[-8:] == [one.run_id for one in stores]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_online_without_a_key_is_offline_with_one_warning(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    upload(store, "online", live=True)
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no W&B key" in err
    (folder,) = folders(store)
    assert folder.name.startswith("offline-run-")
    upload(store)
    assert folders(store) == [folder]

    # With a key it is sent as soon as that is asked again: here to a server that is not there.
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    upload(store, "online")
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "127.0.0.1:9" in err
    assert folder.exists()


def test_online_a_resumed_run_doubles_nothing(
    empty: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")  # what the command asks for overrides it
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        def sent() -> list[float | None]:
            return [server.history[RUN_ID][number].get("image/psnr") for number in sorted(server.history[RUN_ID])]

        for image in range(2):
            keep(empty, row(image), picture(image))
        upload(empty, "online", live=True)
        assert sent() == [20, 21]

        # The job was killed as a row was on its way, which W&B never got, and as it wrote the next row's name.
        with open(names := empty.results_dir / "wandb" / f"{RUN_ID}.rows", "a") as file:
            file.write(f"{IDS[2]}\ntorn by a k")
        for image in range(2, 4):
            keep(empty, row(image), picture(image))
        conclude(empty)
        upload(empty, "online", live=True)
        end = [None] * (STEPS + 1)
        assert sent() == [20, 21, 22, 23, *end]

        # More images fill in.
        keep(empty, row(4), picture(4))
        conclude(empty)
        upload(empty, "online", live=True)
        assert sent() == [20, 21, 22, 23, *end, 24, None]  # the curves stay, a new table comes
        assert rows_of(empty) == [*IDS[:4], *["/curves"] * STEPS, "/end", IDS[4], "/end"]

        # On another machine, whose folder has no names of rows, images of the past are not sent, and those of now are.
        names.unlink()
        keep(empty, row(5), picture(5))
        with making(empty, "online"):
            until(names.exists)
            keep(empty, row(6), picture(6))
        finish()
        assert 26 in sent() and 25 not in sent()
        conclude(empty)
        upload(empty, "online")

        upload(empty, "online")  # has it
        upload(empty)  # online is better than offline
        assert server.twice == []
        assert server.summary[RUN_ID]["metrics/psnr"] == server.summary[RUN_ID]["psnr"] == 23
    assert capfd.readouterr() == ("", "")
    assert [folder.name[:4] for folder in folders(empty)] == ["run-"]


def test_disabled_imports_and_starts_nothing(store: Store) -> None:
    code = f"""
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from ldsmc_bench.records.store import Store
from ldsmc_bench.tracking.follow import finish, observe
subprocess.Popen = None
store = Store(Path({str(store.root)!r}), {RUN_ID!r})
settings = SimpleNamespace(config={{"wandb": {{"mode": "disabled"}}}}, shard=0, shards=1)
for batches in ([["an image"]], []):
    with observe(SimpleNamespace(settings=settings, store=store, ids=["an image"], batches=batches)):
        pass
finish()
sys.exit("wandb" in sys.modules or "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (store.root.parent.parent / "wandb").exists()

"""W&B as a mirror of the store: what real offline files hold, read by wandb itself, and that no failure passes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from ldsmc_bench.problem import toyfaces
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.status import Request, request
from ldsmc_bench.records.store import Store, keep, open_store, read, write_summary
from ldsmc_bench.report import wandb_mirror
from ldsmc_bench.report.summary import summarise
from ldsmc_bench.report.wandb_follow import follow, quiet
from ldsmc_bench.report.wandb_mirror import finish, mirrored
from ldsmc_bench.report.wandb_part import Part, keep_problem
from ldsmc_bench.report.wandb_rows import Rows
from tests.commands import configured, records, runs, tiny
from tests.report.wandb_server import serving

RUN_ID = "ldsmc-box-toyfaces-0123456789ab"
CONFIG = {"protocol": 1, "method": {"name": "ldsmc", "sample": {"particles": 5}}, "task": {"name": "box"}, "seed": 3}
OFFLINE, ONLINE, DISABLED = ({"wandb": {"mode": mode}} for mode in ("offline", "online", "disabled"))
LABELS: dict[str, Any] = {
    "method": "ldsmc",
    "task": "box",
    "dataset": "toyfaces",
    "seed": 3,
    "steps": 6,
    "particles": 5,
}
IDS = [f"test-{image:06d}" for image in range(20)]
STEPS = LABELS["steps"]
ESS = np.random.default_rng(0).uniform(1, 5, (20, STEPS))
RESAMPLED = np.random.default_rng(1).integers(0, 2, (20, STEPS))

PATIENCE = 300.0  # seconds, for what takes two where the machine has nothing else to do

STUB = "class Table: ...\nclass Image: ...\nclass Run: ...\ndef login(**_): return False\n"
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
    monkeypatch.setattr(wandb_mirror, "_warned", set())
    monkeypatch.setattr(wandb_mirror, "_given_up", [])
    monkeypatch.setattr(wandb_mirror, "TIME_LIMIT", PATIENCE)
    before = dict(os.environ)
    yield
    finish()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results", RUN_ID, "# commit: abc\n# machine: a slow one\n" + yaml.safe_dump(CONFIG))


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


def mirror(store: Store, config: dict[str, Any] = OFFLINE, live: bool = False) -> None:
    """What a command does that finds the run finished already."""
    with mirrored(Part(store), config, [], live=live):
        pass
    finish()


def mirrors(store: Store) -> list[Path]:
    return sorted(path for path in (store.root.parent.parent / "wandb").glob("*run-2*"))


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What wandb's own reader finds in the file of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_kind(kind: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def history_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["item"] for line in of_kind("history", records)]


def rows_of(store: Store) -> list[str]:
    return (store.root.parent.parent / "wandb" / f"{RUN_ID}.rows").read_text().splitlines()


def command(store: Store, *arguments: str) -> list[str]:
    results = str(store.root.parent.parent)
    return [sys.executable, "-m", "ldsmc_bench.report.wandb", "--results-dir", results, *arguments]


def pretend(wandb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this package in the place of wandb."""
    (tmp_path / "fake" / "wandb").mkdir(parents=True)
    (tmp_path / "fake" / "wandb" / "__init__.py").write_text(wandb)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))


def happening(*events: Callable[[], object]) -> Callable[[], bool | None]:
    """An `ended` for `follow`: one event before each look, the end with the last."""
    left = list(events)

    def ended() -> bool | None:
        left.pop(0)()
        return None if left else True

    return ended


def test_a_run_is_sent_while_it_grows(empty: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """18 images come in three batches, not in the order of their names, and one fails."""
    problem = OmegaConf.to_container(configured("task=box", "n_images=20"), resolve=True)
    keep_problem(empty, problem, IDS)  # type: ignore[arg-type]
    request(empty, Request(ids=19, dataset_size=20, variant="default", **LABELS))
    order = [*range(9, 18), *range(5), *range(5, 9)]
    known = []

    def batch(images: Sequence[int]) -> None:
        known.append(rows_of(empty))
        for image in images:
            keep(empty, row(image), picture(image), np.full((64, 64), 20, np.uint8))

    def end() -> None:
        batch(order[14:])
        keep(empty, failed(18))
        conclude(empty)

    with quiet():
        follow(Part(empty), "offline", happening(lambda: batch(order[:9]), lambda: batch(order[9:14]), end))
    assert capfd.readouterr() == ("", "")
    assert known == [[], [IDS[i] for i in order[:9]], [IDS[i] for i in order[:14]]]
    (folder,) = mirrors(empty)
    records = records_of(folder)

    (run,) = of_kind("run", records)
    assert (run["run_id"], run["resume"], run["run_group"]) == (RUN_ID, True, RUN_ID)
    config = run["config"]["update"]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert (config["steps"], config["particles"]) == (STEPS, 5)
    assert run["notes"] == "commit: abc\nmachine: a slow one"
    assert of_kind("exit", records)[0]["exit_code"] == 0

    history = history_of(records)
    assert [item["_step"] for item in history] == list(range(18 + STEPS + 1))
    images, smc, last = history[:18], history[18:-1], history[-1]
    psnr = 20.0 + np.array(order)
    assert [item["images"] for item in images] == list(range(1, 19))
    assert [item["image/psnr"] for item in images] == psnr.tolist()
    np.testing.assert_allclose([item["running/psnr"] for item in images], psnr.cumsum() / np.arange(1, 19))
    np.testing.assert_allclose([item["image/ess"] for item in images], ESS[order].mean(axis=1))
    assert {item["image/seconds"] for item in images} == {1.5}
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
    assert (summary["n"], summary["n_failed"], summary["running/psnr"]) == (18, 1, pytest.approx(psnr.mean()))
    assert "image/psnr" not in summary

    table = json.loads((folder / "files" / last["rows.path"]).read_text())
    rows = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["image_id"] for line in rows] == IDS[:19]
    assert rows[7] == {"image_id": IDS[7], "status": "ok", "error": None, "psnr": 27.0, "seconds": 1.5}
    assert (rows[18]["error"], rows[18]["psnr"]) == ("unreadable", None)

    # The panel: truth, measurement and reconstruction of the first 16 images of the data set, each once.
    shown = [key for item in images for key in item if key.endswith(".path")]
    assert shown == [f"panel/{i:02d}.path" for i in order if i < 16]
    (panel,) = [item for item in images if "panel/03.path" in item]
    places = "truth | measurement | reconstruction | particles' spread x4"
    assert panel["panel/03.caption"] == f"{IDS[3]}: {places} (ldsmc N=5)"
    pixels = np.asarray(Image.open(folder / "files" / panel["panel/03.path"]))
    truth, measured, restored = (pixels[:, start : start + 64] for start in (0, 68, 136))
    np.testing.assert_array_equal(truth, toyfaces.array(IDS[3]))
    np.testing.assert_array_equal(restored, picture(3))
    np.testing.assert_array_equal(pixels[:, 204:268], np.full((64, 64, 3), 4 * 20))
    hole = (measured == 128).all(axis=2)
    assert 0.1 < hole.mean() < 0.5
    assert np.abs(measured.astype(int) - truth)[~hole].mean() < 10


def test_a_run_goes_on_where_it_stopped(empty: Store) -> None:
    """Offline each folder holds all; more images after the end are added, and there is one folder in the end."""
    for image in range(2):
        keep(empty, row(image), picture(image))
    with quiet():
        follow(Part(empty), "offline", lambda: False)
    (first,) = mirrors(empty)
    broken_off = records_of(first)
    assert of_kind("exit", broken_off)[0]["exit_code"] == 1
    assert [item["image/psnr"] for item in history_of(broken_off)] == [20, 21]

    keep(empty, row(2), picture(2))
    conclude(empty)
    mirror(empty)
    (second,) = mirrors(empty)
    assert [item.get("image/psnr") for item in history_of(records_of(second))] == [20, 21, 22, *[None] * (STEPS + 1)]
    mirror(empty)
    assert mirrors(empty) == [second]  # W&B has it

    keep(empty, row(3), picture(3))
    conclude(empty)
    mirror(empty)
    (third,) = mirrors(empty)
    assert not {first, second} & {third}
    assert [item["image/psnr"] for item in history_of(records_of(third))[:4]] == [20, 21, 22, 23]


JOB = """
import sys, time
from tests.report.test_wandb import *
store = Store(Path(sys.argv[1]), RUN_ID)
wandb_mirror.TIME_LIMIT = PATIENCE
with mirrored(Part(store), OFFLINE, [], live=True):
    for image in map(int, sys.argv[2].split(",")):
        keep(store, row(image), picture(image))
    print(wandb_mirror._followers[0].process.pid, flush=True)
    if sys.argv[3] == "wait":
        time.sleep(100)
    conclude(store)
"""


def job(store: Store, images: str, then: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", JOB, str(store.root), images, then]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_kill_9_and_resume(empty: Store) -> None:
    """The follower outlives its job only to send what is there; the next job sends each row once, to the same run."""
    killed = job(empty, "0,1", "wait")
    assert killed.stdout is not None
    follower = killed.stdout.readline().strip()
    killed.kill()
    killed.wait()
    until(lambda: not alive(follower))
    (first,) = mirrors(empty)
    records = records_of(first)
    assert (of_kind("run", records)[0]["run_id"], of_kind("exit", records)[0]["exit_code"]) == (RUN_ID, 1)
    assert [item["image/psnr"] for item in history_of(records)] == [20, 21]

    resumed = job(empty, "2,3", "end")
    assert resumed.wait(timeout=PATIENCE) == 0
    (second,) = mirrors(empty)
    records = records_of(second)
    assert (of_kind("run", records)[0]["run_id"], of_kind("exit", records)[0]["exit_code"]) == (RUN_ID, 0)
    assert [item.get("image/psnr") for item in history_of(records)] == [20, 21, 22, 23, *[None] * (STEPS + 1)]


def test_a_mirror_that_was_killed_is_made_again(store: Store) -> None:
    """The follower and W&B's own process are killed in the middle of it, as with the whole machine."""
    code = """
import os, signal, sys
from tests.report.test_wandb import *
store = Store(Path(sys.argv[1]), RUN_ID)
with quiet():
    follow(Part(store), "offline", happening(lambda: None, lambda: os.killpg(0, signal.SIGKILL)))
"""
    killed = subprocess.run([sys.executable, "-c", code, str(store.root)], start_new_session=True, timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = mirrors(store)
    assert rows_of(store) == IDS[:3]
    mirror(store)
    (whole,) = mirrors(store)
    assert whole != partial
    records = records_of(whole)
    assert of_kind("exit", records)[0]["exit_code"] == 0
    assert [item["_step"] for item in history_of(records)] == list(range(3 + STEPS + 1))


def test_shards_group_under_the_run_that_the_last_one_sends(empty: Store) -> None:
    for shard in (0, 1):
        with mirrored(Part(empty, shard, 2), OFFLINE, IDS[4:] + IDS[:4], live=True):
            for image in (shard, shard + 2):
                keep(empty, row(image), picture(image))
            if shard == 1:
                conclude(empty)
        finish()
    found = [records_of(folder) for folder in mirrors(empty)]
    runs = {of_kind("run", records)[0]["run_id"]: history_of(records) for records in found}
    psnrs = {name: [item["image/psnr"] for item in items if "image/psnr" in item] for name, items in runs.items()}
    assert psnrs == {RUN_ID: [20, 21, 22, 23], f"{RUN_ID}-shard0of2": [20, 22], f"{RUN_ID}-shard1of2": [21, 23]}
    assert {of_kind("run", records)[0]["run_group"] for records in found} == {RUN_ID}
    assert [name for name, items in runs.items() if any("rows.path" in item for item in items)] == [RUN_ID]


def test_rows_are_those_that_wandb_has(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    rows = Rows(path, 0)
    assert [rows.add(name) for name in "abc"] == [0, 1, 2]
    with open(path, "a") as file:
        file.write("torn by a k")
    assert Rows(path, 2).names == ["a", "b"]  # c was on its way when the job was killed
    assert path.read_text() == "a\nb\n"
    elsewhere = Rows(path, 4)
    assert elsewhere.names == ["a", "b", "", ""]
    assert elsewhere.add("e") == 4
    assert Rows(path, 5).names == ["a", "b", "", "", "e"]


def test_the_command_sends_any_finished_run_again(store: Store) -> None:
    """Beside it a run that failed throughout is sent too; an unfinished and an unknown one are named."""
    broken = open_store(store.root.parent.parent, "dps-box-toyfaces-ba9876543210", yaml.safe_dump(CONFIG))
    keep(broken, failed(0) | {"run_id": broken.run_id})  # type: ignore[arg-type]
    write_summary(broken, summarise(read(broken), {}))
    open_store(store.root.parent.parent, "unfinished", yaml.safe_dump(CONFIG))

    mirror(store)
    before = mirrors(store)
    again = command(store, "nowhere", "unfinished", RUN_ID, broken.run_id)
    result = subprocess.run(again, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["nowhere", "unfinished"]
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [RUN_ID, broken.run_id]
    after = mirrors(store)
    assert sorted(path.name.split("-", 3)[3] for path in after) == sorted([RUN_ID, broken.run_id])
    assert not set(before) & set(after)
    mirror(store)  # knows of it
    assert mirrors(store) == after


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_warning(
    failure: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(FAILURES[failure], tmp_path, monkeypatch)
    mirror(store, live=True)
    mirror(Store(store.root, RUN_ID), live=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: W&B is left alone")
    assert len(err.splitlines()) == 1
    reasons = {"missing": "no wandb here", "failing": "429 too many requests", "asking": "EOF", "crashing": "exit code"}
    assert reasons[failure] in err
    assert f"python -m ldsmc_bench.report.wandb --mode offline --results-dir {tmp_path}/results {RUN_ID}" in err
    assert not mirrors(store)


def test_a_hanging_wandb_is_ended_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The runs of a command do not wait for it; its end does, for so long, and nothing is left of it."""
    pretend(STUB + HANGING, tmp_path, monkeypatch)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(wandb_mirror, "TIME_LIMIT", 4.0)
    with mirrored(Part(store), OFFLINE, [], live=True):
        until((tmp_path / "pids").exists)
    started = time.monotonic()
    mirror(store)
    mirror(store)  # is not tried again
    assert time.monotonic() - started < 100  # as long as it would hang
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "more than 4 s" in err
    pids = (tmp_path / "pids").read_text().split()
    until(lambda: not any(map(alive, pids)))


def test_a_hanging_wandb_dies_after_its_job(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job was killed, so nobody is there to end it."""
    pretend(STUB + HANGING, tmp_path, monkeypatch)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    read, write = os.pipe()
    line = json.dumps({"root": str(store.root), "mode": "offline", "shard": 0, "shards": 1})
    start = [
        sys.executable,
        "-c",
        f"from ldsmc_bench.report import wandb_follow as w; w.GRACE = 0; w.main({read}, 0.1)",
    ]
    process = subprocess.Popen(start, pass_fds=[read], start_new_session=True)
    os.close(read)
    os.write(write, f"{line}\n".encode())
    until((tmp_path / "pids").exists)
    os.close(write)
    assert process.wait(timeout=PATIENCE) == -signal.SIGKILL
    pids = (tmp_path / "pids").read_text().split()
    until(lambda: not any(map(alive, pids)))


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
    mirror(store, ONLINE, live=True)
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no W&B key" in err
    (folder,) = mirrors(store)
    assert folder.name.startswith("offline-run-")
    mirror(store)
    assert mirrors(store) == [folder]

    # With a key it is sent as soon as that is asked again: here to a server that is not there.
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    mirror(store, ONLINE)
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "127.0.0.1:9" in err
    assert folder.exists()


def test_online_a_resumed_run_doubles_nothing(
    empty: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

        def sent() -> list[float | None]:
            return [server.history[RUN_ID][number].get("image/psnr") for number in sorted(server.history[RUN_ID])]

        for image in range(2):
            keep(empty, row(image), picture(image))
        mirror(empty, ONLINE, live=True)
        assert sent() == [20, 21]

        # The job was killed as a row was on its way, which W&B never got.
        with open(empty.root.parent.parent / "wandb" / f"{RUN_ID}.rows", "a") as file:
            file.write(f"{IDS[2]}\n")
        for image in range(2, 4):
            keep(empty, row(image), picture(image))
        conclude(empty)
        mirror(empty, ONLINE, live=True)
        end = [None] * (STEPS + 1)
        assert sent() == [20, 21, 22, 23, *end]

        # More images fill in.
        keep(empty, row(4), picture(4))
        conclude(empty)
        mirror(empty, ONLINE, live=True)
        assert sent() == [20, 21, 22, 23, *end, 24, None]  # the curves stay, a new table comes

        mirror(empty, ONLINE)  # has it
        mirror(empty)  # online is better than offline
        assert server.twice == []
        assert server.summary[RUN_ID]["metrics/psnr"] == server.summary[RUN_ID]["running/psnr"] == 22
    assert capfd.readouterr() == ("", "")
    assert [folder.name[:4] for folder in mirrors(empty)] == ["run-"]


def test_disabled_imports_and_starts_nothing(store: Store) -> None:
    code = f"""
import subprocess, sys
from pathlib import Path
from ldsmc_bench.records.status import Request, request
from ldsmc_bench.records.store import Store
from ldsmc_bench.report.wandb_mirror import finish, mirrored
from ldsmc_bench.report.wandb_part import Part
subprocess.Popen = None
for live in (True, False):
    with mirrored(Part(Store(Path({str(store.root)!r}), {RUN_ID!r})), {DISABLED}, [], live=live):
        pass
finish()
sys.exit("wandb" in sys.modules or "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (store.root.parent.parent / "wandb").exists()


def test_a_command_mirrors_its_run(tmp_path: Path) -> None:
    """From the command line to W&B's file, a failed image and the last of a sweep's runs included."""
    overrides = ("wandb.mode=offline", "method.sample._target_=tests.samplers.one_nan", "-m", "particles=1,2")
    assert tiny(tmp_path, *overrides).code == 1
    (first, second) = runs(tmp_path)
    until(lambda: all((tmp_path / "results" / "wandb" / f"{run.name}.json").exists() for run in (first, second)))
    folders = {
        folder.name.split("-", 3)[3]: folder for folder in (tmp_path / "results" / "wandb").glob("offline-run-*")
    }
    assert folders.keys() == {first.name, second.name}
    (row, *rest) = history_of(records_of(folders[second.name]))
    (record, _) = records(second).values()
    assert row["image/psnr"] == record["metrics"]["psnr"]
    assert (
        row["panel/00.caption"] == f"{IDS[0]}: truth | measurement | reconstruction | particles' spread x4 (ldsmc N=2)"
    )
    assert [item.get("smc/entropy") for item in rest] == [*record["diagnostics"]["entropy"], None]

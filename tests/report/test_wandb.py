"""W&B as a mirror of the store: what real offline files hold, read by wandb itself, and that no failure passes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, keep, open_store, read, write_summary
from ldsmc_bench.report import wandb as mirroring
from ldsmc_bench.report.summary import summarise

RUN_ID = "ldsmc-box-toyfaces-0123456789ab"
CONFIG = {"protocol": 1, "method": {"name": "ldsmc", "sample": {"particles": 5}}, "task": {"name": "box"}, "seed": 3}
STEPS = 6
ESS = np.random.default_rng(0).uniform(1, 5, (20, STEPS))
RESAMPLED = np.random.default_rng(1).integers(0, 2, (20, STEPS))

STUB = "class Table: ...\nclass Image: ...\ndef login(**_): return False\n"
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
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has not warned yet, of a user without key or settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirroring, "_warned", set())
    monkeypatch.setattr(mirroring, "_given_up", [])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """18 restored images and a failed one."""
    text = "# commit: abc\n# machine: a slow one\n" + yaml.safe_dump(CONFIG)
    store = open_store(tmp_path / "results", RUN_ID, text)
    for image in range(18):
        keep(store, row(image), picture(image))
    keep(store, row(18) | {"status": "failed", "error": "unreadable", "metrics": {}, "cost": {}, "diagnostics": {}})  # type: ignore[arg-type]
    conclude(store)
    return store


def row(image: int) -> Record:
    return {
        "run_id": RUN_ID,
        "image_id": f"{image:05d}",
        **{"method": "ldsmc", "task": "box", "dataset": "toyfaces", "seed": 3, "steps": STEPS, "particles": 5},
        "status": "ok",
        "metrics": {"psnr": 20.0 + image},
        "cost": {"seconds": 1.5},
        "diagnostics": {"ess": ESS[image].tolist(), "resampled": RESAMPLED[image].astype(bool).tolist()},
    }  # type: ignore[typeddict-item]


def picture(image: int) -> np.ndarray:
    return np.full((8, 8, 3), image, dtype=np.uint8)


def conclude(store: Store) -> None:
    write_summary(store, summarise(read(store), {"toyfaces_fid": 3.25, "reference": "toyfaces", "warning": None}))


def mirrors(store: Store) -> list[Path]:
    return sorted(path for path in (store.root.parent.parent / "wandb").glob("*run-2*"))


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What wandb's own reader finds in the file of a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_kind(kind: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def command(store: Store, *arguments: str) -> list[str]:
    results = str(store.root.parent.parent)
    return [sys.executable, "-m", "ldsmc_bench.report.wandb", "--results-dir", results, *arguments]


def pretend(wandb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this package in the place of wandb."""
    (tmp_path / "fake" / "wandb").mkdir(parents=True)
    (tmp_path / "fake" / "wandb" / "__init__.py").write_text(wandb)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))


def test_offline_files_hold_the_run(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    mirroring.mirror(store, "offline")
    assert capfd.readouterr() == ("", "")
    (folder,) = mirrors(store)
    records = records_of(folder)

    (run,) = of_kind("run", records)
    assert run["run_id"] == RUN_ID
    assert run["resume"] is True
    config = run["config"]["update"]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert (config["steps"], config["particles"]) == (STEPS, 5)
    assert run["notes"] == "commit: abc\nmachine: a slow one"
    assert run["run_group"] == "box toyfaces"

    history = [item["item"] for item in of_kind("history", records)]
    assert [item["smc/step"] for item in history] == list(range(STEPS))
    np.testing.assert_allclose([item["smc/ess"] for item in history], ESS[:18].mean(axis=0))
    np.testing.assert_allclose([item["smc/resampled"] for item in history], RESAMPLED[:18].mean(axis=0))

    summary: dict[str, Any] = {}
    for item in of_kind("summary", records):
        summary |= item["update"]
    psnr = np.arange(20.0, 38.0)
    assert summary["metrics/psnr"] == psnr.mean()
    assert summary["metrics/psnr_se"] == pytest.approx(psnr.std(ddof=1) / 18**0.5)
    assert (summary["cost/seconds"], summary["sets/toyfaces_fid"]) == (1.5, 3.25)
    assert (summary["n"], summary["n_failed"]) == (18, 1)
    assert of_kind("exit", records) == [{"exit_code": 0}]

    table = json.loads((folder / "files" / history[-1]["rows.path"]).read_text())
    rows = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert [line["image_id"] for line in rows] == [f"{image:05d}" for image in range(19)]
    assert rows[7] == {"image_id": "00007", "status": "ok", "error": None, "psnr": 27.0, "seconds": 1.5}
    assert (rows[18]["error"], rows[18]["psnr"]) == ("unreadable", None)
    assert history[-1]["reconstructions.captions"] == [f"{image:05d}" for image in range(16)]


def test_a_run_has_one_mirror_and_it_follows_the_summary(store: Store) -> None:
    mirroring.mirror(store, "offline")
    first = mirrors(store)
    mirroring.mirror(store, "offline")
    assert mirrors(store) == first

    keep(store, row(19), picture(19))
    conclude(store)
    mirroring.mirror(store, "offline")
    (second,) = mirrors(store)
    assert [second] != first
    assert of_kind("run", records_of(second))[0]["run_id"] == RUN_ID
    assert len(json.loads(next(second.glob("files/media/table/*")).read_text())["data"]) == 20


def test_a_mirror_that_was_killed_is_made_again(store: Store) -> None:
    process = subprocess.Popen(command(store, RUN_ID), start_new_session=True)
    deadline = time.monotonic() + 60
    while not mirrors(store) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (partial,) = mirrors(store)
    mirroring.mirror(store, "offline")
    (whole,) = mirrors(store)
    assert whole != partial
    assert of_kind("exit", records_of(whole)) == [{"exit_code": 0}]


def test_the_command_sends_any_finished_run_again(store: Store) -> None:
    """Beside it a run that failed throughout is sent too; an unfinished and an unknown one are named."""
    broken = open_store(store.root.parent.parent, "dps-box-toyfaces-ba9876543210", yaml.safe_dump(CONFIG))
    failed = row(0) | {"status": "failed", "error": "bad", "metrics": {}, "cost": {}, "diagnostics": {}}
    keep(broken, failed | {"run_id": broken.run_id})  # type: ignore[arg-type]
    write_summary(broken, summarise(read(broken), {}))
    open_store(store.root.parent.parent, "unfinished", yaml.safe_dump(CONFIG))

    mirroring.mirror(store, "offline")
    before = mirrors(store)
    again = command(store, "nowhere", "unfinished", RUN_ID, broken.run_id)
    result = subprocess.run(again, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["nowhere", "unfinished"]
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [RUN_ID, broken.run_id]
    after = mirrors(store)
    assert sorted(path.name.split("-", 3)[3] for path in after) == sorted([RUN_ID, broken.run_id])
    assert not set(before) & set(after)
    mirroring.mirror(store, "offline")  # knows of it
    assert mirrors(store) == after


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_one_warning(
    failure: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(FAILURES[failure], tmp_path, monkeypatch)
    mirroring.mirror(store, "offline")
    mirroring.mirror(Store(store.root, RUN_ID), "offline")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: W&B is left alone")
    assert len(err.splitlines()) == 1
    reasons = {"missing": "no wandb here", "failing": "429 too many requests", "asking": "EOF", "crashing": "exit code"}
    assert reasons[failure] in err
    assert not mirrors(store)


def test_a_hanging_wandb_is_ended_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pretend(STUB + HANGING, tmp_path, monkeypatch)
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr(mirroring, "TIME_LIMIT", 4.0)
    started = time.monotonic()
    mirroring.mirror(store, "offline")
    mirroring.mirror(store, "offline")  # a sweep does not wait a second time
    assert time.monotonic() - started < 7
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "more than 4 s" in err
    pids = (tmp_path / "pids").read_text().split()
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if alive(pid)] == []


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_online_without_a_key_is_offline_with_one_warning(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mirroring.mirror(store, "online")
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no W&B key" in err
    (folder,) = mirrors(store)
    assert folder.name.startswith("offline-run-")
    mirroring.mirror(store, "offline")
    assert mirrors(store) == [folder]

    # With a key it is sent as soon as that is asked again: here to a server that is not there.
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    mirroring.mirror(store, "online")
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "127.0.0.1:9" in err
    assert folder.exists()


def test_disabled_imports_and_starts_nothing(store: Store) -> None:
    code = f"""
import subprocess, sys
from pathlib import Path
from ldsmc_bench.records.store import Store
from ldsmc_bench.report.wandb import mirror
subprocess.Popen = None
mirror(Store(Path({str(store.root)!r}), {RUN_ID!r}), "disabled")
sys.exit("wandb" in sys.modules or "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not mirrors(store)

"""A W&B agent works through conf/sweep.yaml: its own code makes the commands, each of them is one W&B run."""

import os
import shutil
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ldsmc_bench.files import CONF
from ldsmc_bench.tracking.follow import finish
from tests.commands import Done, runs, start
from tests.tracking.test_wandb import history_of, of_kind, records_of

SWEEP = yaml.safe_load((CONF / "sweep.yaml").read_text("utf-8"))
SMALL = {"n_images": 2, "steps": 2, "device": "cpu", "method.sample.zeta": 2.0}
Trial = Callable[..., Done]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Do the trial of an id and values, as the agent of a sweep would, offline."""
    from wandb import wandb_agent

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {"MODE": "offline", "SWEEP_ID": "abc", "PROJECT": SWEEP["project"], "DIR": tmp_path}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    asked: dict[str, Any] = {}
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **how: asked.update(how) or SimpleNamespace())
    agent = wandb_agent.Agent(api=None, queue=Queue(), sweep_id="abc")
    agent._sweep_command = SWEEP["command"]
    monkeypatch.chdir(tmp_path)

    def trial(run_id: str, *more: str, **values: Any) -> Done:
        chosen = {key: one["value"] for key, one in SWEEP["parameters"].items() if "value" in one} | SMALL | values
        args = {key: {"value": value} for key, value in chosen.items()}
        answer = agent._process_command({"type": "run", "run_id": run_id, "program": SWEEP["program"], "args": args})
        assert "exception" not in answer
        assert asked["command"][:4] == ["/usr/bin/env", "python", "-m", "ldsmc_bench"]
        for name, value in asked["env"].items():
            monkeypatch.setenv(name, value)
        return start(tmp_path, *asked["command"][4:], *more, first=finishing).done()

    return trial


def finishing() -> None:
    """A process that was forked calls at its end what an `atexit` would."""
    util.Finalize(None, finish, exitpriority=1)


def folder_of(place: Path, run_id: str) -> Path:
    (folder,) = (place / "wandb").glob(f"offline-run-*-{run_id}")
    return folder


def test_a_point_is_a_trial_and_a_finished_point_too(tmp_path: Path, trial: Trial) -> None:
    first = trial("trial1")
    assert first.code == 0, first.err
    (run,) = (tmp_path / "results" / "sweep" / "runs").glob("[!.]*")
    before = {path: path.stat().st_mtime_ns for path in (run / "records").iterdir()}
    assert trial("trial2").code == 0
    assert {path: path.stat().st_mtime_ns for path in (run / "records").iterdir()} == before
    found = [records_of(folder_of(tmp_path, name)) for name in ("trial1", "trial2")]
    for name, records in zip(("trial1", "trial2"), found, strict=True):
        (wandb_run,) = of_kind("run", records)
        assert (wandb_run["run_id"], wandb_run["sweep_id"], wandb_run["project"]) == (name, "abc", "ldsmc_bench")
        config = wandb_run["config"]["update"]
        assert (config["method"], config["task"], config["method.sample.zeta"]) == ("dps", "box", 2.0)
        assert (config["sample"]["zeta"], config["steps"]) == (2.0, 2)
        (exit_record,) = of_kind("exit", records)
        assert exit_record["exit_code"] == 0
    printed = [line["line"] for line in of_kind("output_logger", found[0])]
    assert "dps box N=1 (2 images) 100%" in "".join(printed)  # the progress bar, once
    updates = [[one["update"] for one in of_kind("summary", records)] for records in found]
    one, other = (
        [update[SWEEP["metric"]["name"]] for update in each if SWEEP["metric"]["name"] in update] for each in updates
    )
    assert one == other and one[0] > 0
    assert len([item for item in history_of(found[1]) if "image/psnr" in item]) == 2


def test_a_sweep_within_a_trial_is_refused(tmp_path: Path, trial: Trial) -> None:
    done = trial("trial1", "-m", "seed=0,1")
    assert done.code == 2
    assert all("-m: a trial of a W&B agent is one run" in line for line in done.errors) and done.errors
    assert not runs(tmp_path / "results" / "sweep")
    assert not [*(tmp_path / "wandb").glob("offline-run-*")]


def test_the_sweep_is_one_of_wandbs(tmp_path: Path) -> None:
    """By W&B's own reader; and its ranges are those of the method."""
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    shutil.copy(CONF / "sweep.yaml", tmp_path)
    assert load_sweep_config(str(tmp_path / "sweep.yaml")) == SWEEP
    zeta = yaml.safe_load((CONF / "method" / "dps.yaml").read_text("utf-8"))["search"]["zeta"]
    ours = SWEEP["parameters"]["method.sample.zeta"]
    assert (ours["min"], ours["max"]) == (zeta["low"], zeta["high"])

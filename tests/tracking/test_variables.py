"""W&B's own environment variables: heeded unless the command line says otherwise."""

from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.status import Request
from ldsmc_bench.records.store import Store
from ldsmc_bench.tracking.__main__ import main
from ldsmc_bench.tracking.follow import Upload, choose_mode


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_DISABLED", "WANDB_DIR", "WANDB_PROJECT", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_MODE": ""}, "offline"),
        ({"WANDB_MODE": "online"}, "online"),
        ({"WANDB_MODE": "run"}, "online"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "dryrun"}, "offline"),
        ({"WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_DISABLED": "true"}, "disabled"),
        ({"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, "disabled"),
        ({"WANDB_DISABLED": "false", "WANDB_MODE": "online"}, "online"),
        ({"WANDB_SWEEP_ID": "abc"}, "online"),  # an agent's
        ({"WANDB_SWEEP_ID": "abc", "WANDB_MODE": "offline"}, "offline"),
    ],
)
def test_the_environment_decides_the_mode(
    environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_mode("auto") == mode
    assert [choose_mode(given) for given in ("online", "offline", "disabled")] == ["online", "offline", "disabled"]


def test_a_mode_that_is_none_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(UserError, match=r"^WANDB_MODE=onlin: must be online, offline or disabled; wandb.mode=\.\.\."):
        choose_mode("auto")
    assert choose_mode("online") == "online"


def test_the_command_that_sends_again_heeds_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert main(["any-run"]) == 2
    assert "add mode=offline or mode=online" in capsys.readouterr().err


def test_folder_and_project_are_those_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ldsmc_bench.tracking import send

    asked: dict[str, Any] = {}

    def init(**keywords: Any) -> None:
        asked.update(keywords)
        raise InterruptedError

    def opened() -> Path:
        with pytest.raises(InterruptedError):
            send._open_run(upload, request)
        return Path(asked["dir"])

    upload = Upload(Store(tmp_path / "results" / "runs" / "a-run", "a-run"))
    (upload.store.root / "records").mkdir(parents=True)
    (upload.store.root / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(send.wandb, "init", init)
    request = Request((2,), RunLabels("ldsmc", "box", "toyfaces", steps=2, particles=1, seed=0))
    assert opened() == tmp_path / "results"
    assert asked["project"] == "ldsmc_bench"
    monkeypatch.setenv("WANDB_PROJECT", "faces")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "not" / "yet"))
    assert (opened(), asked["project"]) == (tmp_path / "not" / "yet", "faces")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_DIR", "~/mine")
    assert opened() == tmp_path / "mine"

    # A run sent again replaces the folders of before, here and there.
    folders = [
        place / "wandb" / "offline-run-20260101_000000-a-run" for place in (tmp_path / "results", tmp_path / "mine")
    ]
    for folder in folders:
        folder.mkdir(parents=True)
    assert sorted(send._older_folders(upload)) == sorted(folders)

    (tmp_path / "file").touch()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file"))
    with pytest.raises(FileExistsError):
        send._open_run(upload, request)

"""The W&B workspace, up to the request that would make it: it arrives at a stand-in for W&B's server."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.tracking.dashboard import METRICS
from tests.tracking.wandb_server import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def dashboard(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    return subprocess.run(
        [sys.executable, "-m", "ldsmc_bench.tracking.dashboard", *arguments],
        env=bare | {"HOME": str(home)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def panels(section: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel["config"] for panel in section["panels"]]


def test_one_command_makes_it(server: Server, tmp_path: Path) -> None:
    done = dashboard(tmp_path, "--project", "faces", **server.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{server.environment['WANDB_BASE_URL']}/me/faces?nw=abc\n"

    (asked,) = server.views
    assert (asked["entityName"], asked["projectName"], asked["displayName"]) == ("me", "faces", "ldsmc_bench")
    section = json.loads(asked["spec"])["section"]
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == [
        f"{key}.value" for key in ("task", "method", "variant", "setting")
    ]

    assert section["panelBankConfig"]["sections"][0]["name"] == "While it runs"
    sections = {one["name"]: one for one in section["panelBankConfig"]["sections"] if one["panels"]}
    keys = {"sets/fid_clean", "sets/toyfaces_fid", *(f"metrics/{m}" for m in METRICS if "fid" not in m)}
    for axis in ("particles", "steps", "s"):
        assert {panel["yAxis"] for panel in panels(sections[f"Metrics by {axis}"])} == {
            f"summary:{key}" for key in keys
        }
    assert {panel["xAxis"] for panel in panels(sections["Metrics by particles"])} == {"config:particles.value"}
    assert {panel["xAxis"] for panel in panels(sections["Metrics by s"])} == {"config:sample.value.s"}
    fronts = {panel["xAxis"] for panel in panels(sections["Cost fronts"])}
    assert fronts == {"summary:cost/seconds", "summary:cost/denoiser_forward"}
    pictures = panels(sections["Pictures: truth, measurement, reconstruction"])
    assert [panel["mediaKeys"] for panel in pictures] == [[f"panel/{place:02d}"] for place in range(16)]
    smc = panels(sections["Sequential Monte Carlo"])
    assert [panel["metrics"][0] for panel in smc[:2]] == ["smc/ess", "smc/resampled"]


def test_a_task_and_metrics_of_ones_own(server: Server, tmp_path: Path) -> None:
    done = dashboard(tmp_path, "--entity", "us", "--task", "box", "--metrics", "ssim", **server.environment)
    assert done.returncode == 0, done.stderr
    asked = server.views[-1]
    assert (asked["entityName"], asked["displayName"]) == ("us", "ldsmc_bench box")
    section = json.loads(asked["spec"])["section"]
    search = section["runSets"][0]["search"]
    assert search["isRegex"] and re.search(search["query"], "ldsmc/box/toyfaces N=5 paper")
    assert not re.search(search["query"], "ldsmc/freeform/toyfaces N=5")
    first = section["panelBankConfig"]["sections"][1]
    assert [panel["yAxis"] for panel in panels(first)] == ["summary:metrics/ssim"]


def test_what_is_missing_is_said_in_one_line(server: Server, tmp_path: Path) -> None:
    def said(*arguments: str, **environment: str) -> str:
        done = dashboard(tmp_path, *arguments, **environment)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        return done.stderr

    assert "no W&B key here" in said()
    assert "psrn: no such metric; there are: psnr, " in said("--metrics", "psnr,psrn")
    assert "error: W&B: " in (refused := said("--entity", "nobody", **server.environment)) and "refused" in refused
    (tmp_path / "wandb_workspaces.py").write_text("raise ModuleNotFoundError(name='wandb_workspaces')")
    wanting = said(PYTHONPATH=str(tmp_path), **server.environment)
    assert "wandb_workspaces is not installed: in the checkout, pip install '.[dashboard]'" in wanting

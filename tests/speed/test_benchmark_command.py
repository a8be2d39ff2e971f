"""The benchmark command: what it takes, what it tells, and what it refuses in a line."""

import itertools
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ldsmc_bench.commands.speed import main
from ldsmc_bench.speed import growth, measure
from ldsmc_bench.speed.measure import measure_overhead
from ldsmc_bench.speed.setup import add_defaults, expand_sweep, prepare, resize_prior
from ldsmc_bench.toyfaces import priors

ROOT = Path(__file__).parents[2]
TINY = ("device=cpu", "steps=6", "batch_size=1", "method.sample.latent_fit_iterations=0")


@pytest.mark.usefixtures("measured_on_tiny")
@pytest.mark.slow
def test_a_line_for_each_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "numbers.json"
    assert main([*TINY, "particles=2", "--baseline", "--json", str(file)]) == 0
    found = json.loads(file.read_bytes())
    assert [line["order"] for line in found["lines"]] == ["ours", "public", "published"]
    for line in found["lines"]:
        assert line["particles"] == 2 and line["memory_mb"] >= 0
        assert 0 < line["outside"] < 1 and line["seconds"]["whole"] > 0
    assert [ratio["order"] for ratio in found["ratios"]] == ["public", "published"]
    for ratio in found["ratios"]:
        assert ratio["operations"] > 1 and ratio["seconds"] > 0  # speed itself is no test's business
    out = capsys.readouterr().out
    assert "ldsmc/released in the public order" in out and "measured on cpu" in out
    assert "not known without a GPU: " in out
    assert "the public order on the same networks takes" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["particels=5"], "particels: no such key; did you mean particles?"),
        (["prior=ldm_ffqh"], "prior=ldm_ffqh: no such prior"),
        (["steps=3"], "steps=3: a chain is measured on at least 6 steps"),
        (["particles=0"], "particles=0: must be a whole number of at least 1"),
        (["dataset=mixture", "task=linear"], "dataset=mixture: its prior has no networks"),
        (["--baseline", "method=psld"], "--baseline: the public order is that of LD-SMC's code"),
        (["--growth", "particles=1,2"], "--growth: it sweeps by itself"),
        (["--draws", "particles=1,2"], "--draws: give one value of each key"),
        (["particles=range(1,3)", "seed=interval(0,1)"], "seed=interval(0,1): cannot be swept here"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device=cpu", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


def test_points_are_all_combinations() -> None:
    assert expand_sweep(["a=1,2", "b=[x,y]", "c=3,4"]) == [
        ["a=1", "b=[x,y]", "c=3"],
        ["a=1", "b=[x,y]", "c=4"],
        ["a=2", "b=[x,y]", "c=3"],
        ["a=2", "b=[x,y]", "c=4"],
    ]


def test_published_priors_have_random_weights_and_their_own_data_set() -> None:
    assert add_defaults(["prior=ldm_ffhq"]) == [
        "prior=ldm_ffhq",
        "dataset=ffhq",
        "steps=10",
        "prior.random_weights=true",
    ]
    assert add_defaults(["prior=ldm_ffhq", "prior.path=x", "steps=9"])[3:] == ["dataset=ffhq"]
    assert add_defaults(["device=cpu"])[1:] == ["dataset=toyfaces", "steps=10"]
    assert add_defaults(["device=cuda"])[1:] == ["dataset=ffhq", "steps=10", "prior.random_weights=true"]


@pytest.mark.parametrize("gpus", ["GPU 0: one", ""])
def test_one_command_measures_all_that_the_machine_has(tmp_path: Path, gpus: str) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho {gpus}\n")
    smi.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "-n", "speed"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    for always in ("particles=1,5,10 ", "method=latent_dps,psld ", "--baseline ", "--draws ", "--growth "):
        assert always in done.stdout
    for there in ("precision=fp32,bf16 compile=false,true", "CUDAGRAPHS=1"):
        assert (there in done.stdout) == bool(gpus)


@pytest.mark.parametrize("side", [32, 128])
def test_networks_take_images_of_another_side(side: int) -> None:
    prior = resize_prior(priors.latent(), side)
    ready = prepare([*TINY, "particles=1"], 1, side)
    assert ready.measurement.y.shape[-1] == side and ready.prior.shape == prior.shape == (3, side // 4, side // 4)


@pytest.mark.usefixtures("measured_on_tiny")
@pytest.mark.slow
def test_growth_and_its_figure(tmp_path: Path) -> None:
    grid = {"particles": (1,), "steps": (6,), "side of an image": (32,)}
    found = list(growth.measure_growth(TINY, grid))
    assert [(point.axis, point.at) for point in found] == [(axis, at) for axis in grid for at in grid[axis]]
    assert all(point.seconds is not None and point.seconds > 0 for point in found)
    beyond = growth.Point("particles", 50, None, None)  # did not fit
    path = growth.draw([*found, beyond], "a title", "cpu", tmp_path / "growth.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.with_suffix(".pdf").exists()
    assert "does not fit" in str(beyond)


@pytest.mark.slow
def test_overhead_is_what_is_not_sampling() -> None:
    found = measure_overhead(["device=cpu", "n_images=1", "batch_size=1", "steps=3", "particles=1"])
    assert found["images"] == 1 and 0 < found["sampling"] < found["whole"] and 0 < found["share"] < 1


def test_the_ratio_of_draws_to_images_is_paired_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws take 1.05 times as long, on a machine that slows down from run to run, and halts once."""
    taken = itertools.count()

    def timed(overrides: Sequence[str]) -> measure.Timed:
        draws, number = "n_images=1" in overrides, next(taken)
        whole = (1.05 if draws else 1.0) * 1.01**number * (30 if number == 2 else 1)
        return measure.Timed(1 if draws else 16, whole, whole / 2)

    monkeypatch.setattr(measure, "time_run", timed)
    for ratio in measure.measure_draws(["task=box"]).values():
        assert ratio["median"] == pytest.approx(1.05, rel=0.011) and ratio["most"] > 30 > 1.04 > ratio["least"]
    assert measure.paired_ratio([2.0, 6.0, 9.0], [1.0, 2.0, 9.0]) == {"median": 2.0, "least": 1.0, "most": 3.0}

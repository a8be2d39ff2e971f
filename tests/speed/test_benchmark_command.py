"""The benchmark command: what it takes, what it tells, and what it refuses in a line."""

import json
from pathlib import Path

import pytest

from ldsmc_bench.commands.speed import main
from ldsmc_bench.speed import growth
from ldsmc_bench.speed.measure import measure_overhead
from ldsmc_bench.speed.setup import add_defaults, expand_sweep, prepare, resize_prior
from ldsmc_bench.toyfaces import priors

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

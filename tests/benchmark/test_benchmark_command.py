"""The benchmark command: what it takes, what it tells, and what it refuses in a line."""

import json
from pathlib import Path

import pytest

from ldsmc_bench.benchmark import growth
from ldsmc_bench.benchmark.__main__ import main
from ldsmc_bench.benchmark.case import case, completed, points, resized
from ldsmc_bench.benchmark.overhead import overhead
from ldsmc_bench.prior import latent

TINY = ("device=cpu", "steps=6", "batch_size=1", "method.sample.latent_fit_iterations=0")


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldsmc_bench.benchmark.machine.SIDES", {"cpu": (64,)})


def test_a_line_for_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "numbers.json"
    assert main([*TINY, "particles=1,2", "--json", str(file)]) == 0
    found = json.loads(file.read_bytes())
    assert [line["particles"] for line in found["lines"]] == [1, 2]
    for line in found["lines"]:
        assert 0 < line["outside"] < 1 and line["memory_mb"] >= 0 and line["seconds"]["whole"] > 0
    assert found["lines"][1]["pflop"] > 2 * found["lines"][0]["pflop"]  # weights ask for decodes of their own
    out = capsys.readouterr().out
    assert "ldsmc/default" in out and "measured on cpu" in out


def test_both_orders_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.json"
    assert main([*TINY, "particles=2", "--baseline", "--json", str(file)]) == 0
    found = json.loads(file.read_bytes())
    assert [line["order"] for line in found["lines"]] == ["ours", "public"]
    (ratio,) = found["ratios"]
    assert ratio["operations"] > 1 and ratio["seconds"] > 0  # speed itself is no test's business
    assert "the public order takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["particels=5"], "particels: no such key; did you mean particles?"),
        (["prior=ldm_ffqh"], "prior=ldm_ffqh: no such prior"),
        (["steps=3"], "steps=3: a chain is measured on at least 6 steps"),
        (["particles=0"], "particles=0: must be a whole number of at least 1"),
        (["dataset=mixture", "task=linear"], "dataset=mixture: its closed form says nothing"),
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
    assert points(["a=1,2", "b=[x,y]", "c=3,4"]) == [
        ["a=1", "b=[x,y]", "c=3"],
        ["a=1", "b=[x,y]", "c=4"],
        ["a=2", "b=[x,y]", "c=3"],
        ["a=2", "b=[x,y]", "c=4"],
    ]


def test_published_priors_have_random_weights_and_their_own_data_set() -> None:
    assert completed(["prior=ldm_ffhq"]) == ["prior=ldm_ffhq", "dataset=ffhq", "steps=10", "prior.random_weights=true"]
    assert completed(["prior=ldm_ffhq", "prior.path=x", "steps=9"])[3:] == ["dataset=ffhq"]
    assert completed(["device=cpu"])[1:] == ["dataset=toyfaces", "steps=10"]
    assert completed(["device=cuda"])[1:] == ["dataset=ffhq", "steps=10", "prior.random_weights=true"]


@pytest.mark.parametrize("side", [32, 128])
def test_networks_take_images_of_another_side(side: int) -> None:
    prior = resized(latent.toyfaces(), side)
    ready = case([*TINY, "particles=1"], 1, side)
    assert ready.measurement.y.shape[-1] == side and ready.prior.shape == prior.shape == (3, side // 4, side // 4)


def test_growth_and_its_figure(tmp_path: Path) -> None:
    grid = {"particles": (1,), "steps": (6,), "side of an image": (32,)}
    found = list(growth.growth(TINY, grid))
    assert [(point.axis, point.at) for point in found] == [(axis, at) for axis in grid for at in grid[axis]]
    assert all(point.seconds is not None and point.seconds > 0 for point in found)
    beyond = growth.Point("particles", 50, None, None)  # did not fit
    path = growth.draw([*found, beyond], "a title", "cpu", tmp_path / "growth.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.with_suffix(".pdf").exists()
    assert "does not fit" in growth.told([beyond])[1]


def test_finished_images_are_found_again() -> None:
    assert growth.resume_scan(50) > 0


def test_overhead_is_what_is_not_sampling() -> None:
    found = overhead(["device=cpu", "n_images=1", "batch_size=1", "steps=3", "particles=1"])
    assert found.images == 1 and 0 < found.sampling < found.whole and 0 < found.share < 1
    assert {"pose", "score_and_keep", "conclude", "restore"} <= found.steps.keys()
    assert sum(found.steps.values()) == pytest.approx(1) and min(found.steps.values()) >= 0
    assert found.share == pytest.approx(1 - found.sampling / found.whole)

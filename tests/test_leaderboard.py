"""The leaderboard: order, intervals and tests of methods by world and number of denoiser calls, and its files."""

from pathlib import Path

import pytest

from ldsmc_bench.commands import leaderboard
from ldsmc_bench.config import validate
from ldsmc_bench.errors import notify
from ldsmc_bench.mixture.kept import world_of
from ldsmc_bench.records.jobs import Job, keep, new_launch
from ldsmc_bench.run import announce
from tests.commands import configured
from tests.report.made import made

PROBLEMS = 12


def run(
    results: Path, method: str, ratio: float, calls: int, exact_for: str, problems: int = PROBLEMS, seed: int = 0
) -> None:
    """A run and the note of its job; the ratios of problems are around this one."""
    images = {
        f"problem-{i}": {"sw1_ratio": ratio + 0.01 * i, "mode_tv": 0.1, "hpd_50": 0.5, "hpd_90": 0.9}
        | {"spread_ratio": 1.0, "mmse_gap": 0.1, "entropy": 0.1 * i}
        for i in range(problems)
    }
    cost = {"denoiser_forward": float(calls), "denoiser_backward": 0.0}
    run_id = made(results, method, "linear", images, dataset="mixture", steps=calls, cost=cost, seed=seed)
    config = {
        "dataset": {"calls": calls, "world": "lattice d=8 m=4"},
        "method": {"name": method, "exact_for": exact_for},
    }
    keep(new_launch(results), Job(0, [], "", config, run_id))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for calls in (100, 1000):
        run(tmp_path, "dps", 9.0, calls, "never")
        run(tmp_path, "pigdm", 2.0 - calls / 1000, calls, "never")
        run(tmp_path, "fk", 2.0 - calls / 1000 + 0.0001, calls, "chain")
    made(tmp_path, "tmpd", "linear", {"problem-0": {"sw1_ratio": 1.0}}, dataset="mixture")  # of no leaderboard
    return tmp_path


def test_methods_are_ordered_tested_and_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard.main(["--results-dir", str(results)]) == 0
    hundred, thousand = capsys.readouterr().out.split("denoiser calls a draw\n")[1:]
    rows = [line.split() for line in hundred.splitlines()[2:5]]
    assert [row[0] for row in rows] == ["=", "FK", "DPS"] and rows[0][1] == "PiGDM"
    assert rows[0][2:5] == ["never", "1", "1.96"] and 1.9 < float(rows[0][5].strip("[,")) < 1.96
    assert "chain" in rows[1] and "TMPD" not in hundred
    assert thousand.splitlines()[2].split()[4] == "1.06"
    written = {path.name for path in (results / "tables").iterdir()}
    assert written == {
        "leaderboard_notes.tex",
        "leaderboard-medians.csv",
        *(f"leaderboard.{end}" for end in ("tex", "md", "csv", "parquet")),
    }
    medians = (results / "tables" / "leaderboard-medians.csv").read_text().splitlines()
    assert len(medians) == 1 + 6 and medians[1].startswith("lattice d=8 m=4,100,pigdm-") and ",1.955," in medians[1]
    assert "lattice d=8 m=4, calls=1000" in (results / "tables" / "leaderboard.md").read_text()
    names = {path.name for path in (results / "figures").iterdir()}
    assert {"leaderboard.png", "leaderboard-difficulty.png"} <= names


def test_few_problems_leave_the_marks_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The least p of a signed-rank test of six problems is 1/32: not below 0.05 times 2, for two tests."""
    run(tmp_path, "dps", 9.0, 100, "never", problems=6)
    run(tmp_path, "pigdm", 2.0, 100, "never", problems=6)
    assert leaderboard.main(["--results-dir", str(tmp_path)]) == 0
    assert "\n=  " in (out := capsys.readouterr().out) and "too few" not in out
    run(tmp_path, "fk", 3.0, 100, "chain", problems=6)
    assert leaderboard.main(["--results-dir", str(tmp_path)]) == 0
    assert "\n=  " not in (out := capsys.readouterr().out)
    assert "no `=`: 6 problems are too few to tell 3 methods apart" in out


def test_methods_with_and_without_weights_are_compared(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(results, "dps_weighted", 3.0, 100, "chain")
    run(results, "pigdm_weighted", 2.0, 1000, "chain")
    assert leaderboard.main(["--results-dir", str(results)]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.split("weights off and on")[1].splitlines()[3:5]]
    assert [(row[3], row[4]) for row in rows] == [("100", "DPS"), ("1,000", "PiGDM")]
    assert (rows[0][6], rows[0][9], float("".join(rows[0][12:]).strip("<")) < 0.01) == ("9.05", "3.05", True)
    assert (rows[1][6], rows[1][9]) == ("1.06", "2.05")  # what is worse is shown too
    assert "leaderboard-weights.png" in out


def test_each_seed_has_problems_of_its_own(tmp_path: Path) -> None:
    """They have the same names, by which they were paired, and weights with each seed of the run without."""
    for seed in (0, 1):
        run(tmp_path, "dps", 2.0 + seed, 100, "never", seed=seed)
        run(tmp_path, "dps_weighted", 1.5 + seed, 100, "chain", seed=seed)
    runs, images = leaderboard.board(tmp_path)
    assert len(leaderboard.pairs_of_weights(runs, images)) == 2
    assert set(runs["dataset.world"]) == {"lattice d=8 m=4, seed 0", "lattice d=8 m=4, seed 1"}


def test_other_runs_are_no_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "dps", "linear", {"problem-0": {"sw1_ratio": 1.0}}, dataset="mixture")
    assert leaderboard.main(["--results-dir", str(tmp_path)]) == 2
    assert "experiment=leaderboard -m" in capsys.readouterr().err


@pytest.mark.parametrize(("method", "calls", "steps", "particles"), [
    ("dps", 1000, 1000, 1), ("ldsmc", 1000, 100, 10), ("pcn", 100, 4, 1), ("scg", 10_000, 2501, 1),
])  # fmt: skip
def test_steps_and_particles_follow_from_the_calls(method: str, calls: int, steps: int, particles: int) -> None:
    cfg = configured("experiment=leaderboard", f"method={method}", f"dataset.calls={calls}")
    assert (cfg.steps, cfg.particles) == (steps, particles)


def test_each_task_and_prior_is_a_world_of_its_own() -> None:
    keys = {
        (): "linear lattice d=8 m=4",
        ("task=phase", "task.operator.dy=2"): "phase lattice d=8 m=2",
        ("prior=learned", "dataset.kind=scattered"): "linear scattered d=8 m=4 learned prior",
        ("dataset=kde_faces", "task=sr16"): "sr16 kde_faces noise=0.5",
        ("dataset=kde_faces", "task.operator.dy=4"): "linear 4 kde_faces noise=1.0",
        ("dataset=empirical", "task=hdr"): "hdr empirical",
    }
    for overrides, world in keys.items():
        assert world_of(configured("experiment=leaderboard", "method=dps", "dataset.calls=100", *overrides)) == world


def test_hyper_parameters_are_those_of_the_world_and_the_calls_where_a_row_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = "+method.tuning.mixture.scattered_10={zeta: 7.0}"
    for calls, zeta, name in ((10, 7.0, "scattered_10"), (20, 0.3, "denoise")):
        cfg = configured(
            "experiment=leaderboard", "method=dps", "dataset.kind=scattered", f"dataset.calls={calls}", row
        )
        notify.cache_clear()  # a line is printed once a process, and other tests may have had it
        announce(settings := validate(cfg), settings.n_images)
        assert settings.sample["zeta"] == zeta
        assert f"of conf/tuned/mixture, {name}, for dps" in capsys.readouterr().err

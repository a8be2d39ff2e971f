"""Tuning on toyfaces: the same budget for every method, and a choice that can be read."""

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from ldsmc_bench.commands import tune
from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.identity import identify, run_id
from tests.commands import command, configured

METHODS = sorted(path.stem for path in tune.GRID.glob("*.yaml"))
TASKS = ["box", "freeform", "gaussian_deblur", "sr4"]


def composed(*overrides: str) -> DictConfig:
    """What tune.composed makes, composed once for each choice of files."""
    return configured(f"experiment={tune.EXPERIMENT}", *overrides)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_three_candidates_for_each_of_the_same_tasks(method: str) -> None:
    grid = tune.grid(method)
    assert list(grid) == TASKS
    assert all(len({json.dumps(row) for row in rows}) == 3 for rows in grid.values())
    samples = [validate(composed(f"method={method}", "task=sr4", f"dataset.candidate={i}")) for i in range(3)]
    for row, settings in zip(grid["sr4"], samples, strict=True):
        assert settings.config["dataset"]["split"] == "validation"
        if method != "latent_dps":  # whose kappa1 is its sampler's zeta
            assert {key: settings.sample[key] for key in row if key in settings.sample}.items() <= row.items()
    assert len({json.dumps(settings.sample) for settings in samples}) == 3


def test_a_trial_is_found_by_the_run_that_the_command_made(tmp_path: Path) -> None:
    small = ("n_images=1", "device=cpu", f"results_dir={tmp_path}")
    assert (
        command(tmp_path, "experiment=tune_toyfaces", "method=dps", "task=box", "dataset.candidate=1", *small).code == 0
    )
    with pytest.raises(UserError, match=r"dps, box: 1 of 64 images; first: .* task=box dataset\.candidate=1"):
        tune.trial("dps", "box", 1, {}, tmp_path)
    with pytest.raises(UserError, match="dps, box: 0 of 64 images"):
        tune.trial("dps", "box", 0, {}, tmp_path)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Summaries of all trials of DPS, as if they had been run: of task number i, candidate i % 3 is the best."""
    monkeypatch.setattr(tune, "composed", composed)
    config = validate(composed("method=dps")).config
    dataset, prior = (instantiate(config[part]["load"]) for part in ("dataset", "prior"))
    for i, task in enumerate(TASKS):
        for candidate in range(3):
            settings = validate(composed("method=dps", f"task={task}", f"dataset.candidate={candidate}"))
            run = tmp_path / "runs" / run_id(identify(settings.config, dataset, prior))
            run.mkdir(parents=True)
            mean = 0.1 if candidate == i % 3 else 0.2 + candidate
            metrics = {tune.METRIC: {"mean": mean, "se": 0.01, "n": 64}}
            (run / "summary.json").write_text(json.dumps({"n": 64, "metrics": metrics}))
    return tmp_path


def test_the_best_rows_are_written_with_what_all_came_to(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["dps", "--results-dir", str(results), "--out", str(results)]) == 0
    text = (results / "dps.yaml").read_text()
    table, grid = yaml.safe_load(text), tune.grid("dps")
    assert [table[task] for task in TASKS] == [grid[task][i % 3] for i, task in enumerate(TASKS)]
    assert {task: table[task] for task in tune.NEAREST} == {task: table[near] for task, near in tune.NEAREST.items()}
    assert "# box: (zeta 2.0) 0.100 ± 0.010, (zeta 4.0) 1.200 ± 0.010, (zeta 8.0) 2.200 ± 0.010\n" in text
    assert "64 validation faces, 25 steps, one particle" in text
    assert (
        capsys.readouterr().out
        == f"{results / 'dps.yaml'}: box 0.100, freeform 0.100, gaussian_deblur 0.100, sr4 0.100\n"
    )


def test_a_method_with_a_trial_missing_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dps.yaml").write_text("as it was")
    assert tune.main(["dps", "nobody", "--results-dir", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert (tmp_path / "dps.yaml").read_text() == "as it was"
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: dps, box: 0 of 64 images; first: python -m ldsmc_bench experiment=tune_toyfaces")
    assert second.startswith("error: nobody: no grid of candidates")

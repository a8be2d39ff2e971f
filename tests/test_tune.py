"""The command `tune`, on problems of mixtures, which take no time: its runs, its tables, and that it goes on."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ldsmc_bench.commands import tune
from ldsmc_bench.config import validate
from tests.commands import start

SMALL = ["dataset=mixture", "method=mine", "n_images=2", "batch_size=1", "draws=50", "steps=3", "device=cpu"]
SMALL += ["keep_problems=false"]
CALLS = 2 * 50 * 3  # of a whole trial
MINE = """\
defaults:
  - optional /tuned@tuning: mine
  - override /prior@_global_.prior: ${dataset}/pixel
name: mine
sample: {_target_: baselines.dps.sample, _partial_: true, steps: "${steps}", transition: 1.0, latent_fit_iterations: 0,
  latent_fit_lr: 0.1, scaling: norm, clip: false, zeta: "${oc.select:tuned.zeta,1.0}"}
search:
  zeta: {low: 0.01, high: 10.0, log: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "method").mkdir()
    (tmp_path / "variant" / "mine").mkdir(parents=True)
    (tmp_path / "method" / "mine.yaml").write_text(MINE)
    return tmp_path


def arguments(folder: Path, *others: str) -> list[str]:
    return [*SMALL, f"config_dir={folder}", f"results_dir={folder / 'results'}", *others]


def trials(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "tuned" / "mixture" / "trials" / "mine-denoise.csv")


def records(folder: Path, run_id: str = "*") -> Iterator[Path]:
    return (folder / "results" / "runs").glob(f"{run_id}/records/*.json")


def test_the_best_trial_is_the_row_that_the_method_reads_and_a_larger_budget_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(arguments(folder, f"budget={2 * CALLS}")) == 0
    first, before = trials(folder), {path: path.stat().st_mtime_ns for path in records(folder)}
    assert len(first) == 2 and first.zeta[0] == 1.0  # what the method had
    capsys.readouterr()
    assert tune.main(arguments(folder, f"budget={3 * CALLS}")) == 0
    table, out = trials(folder), capsys.readouterr().out.splitlines()
    assert before.items() <= {path: path.stat().st_mtime_ns for path in records(folder)}.items()  # not computed again
    pd.testing.assert_frame_equal(table[:2], first)
    assert len(table) == 3
    for _, trial in table.iterrows():  # each is a run of the problems of another seed, by its records
        found = [json.loads(path.read_text()) for path in records(folder, trial.run_id)]
        assert trial["mean"] == pytest.approx(
            sum(abs(math.log(one["metrics"]["sw1_ratio"])) for one in found) / 2, rel=1e-5
        )
        assert trial.calls == sum(50 * one["cost"]["denoiser_forward"] for one in found) == CALLS
    best = table.loc[table["mean"].idxmin()]
    assert yaml.safe_load((folder / "tuned" / "mixture" / "mine.yaml").read_text()) == {"denoise": {"zeta": best.zeta}}
    assert out[1].startswith("trial 0: zeta=1.0: ") and f"; {CALLS} of {3 * CALLS} calls; best: trial 0, " in out[1]
    assert out[-1].startswith("to use it: python -m ldsmc_bench dataset=mixture method=mine")
    assert "zeta" not in out[-1]  # since the method reads it
    assert validate(tune.composed([*SMALL], folder)).sample["zeta"] == best.zeta


def test_a_new_row_has_all_of_the_one_that_served_until_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [one for one in SMALL if not one.startswith("method=")]
    new = ["experiment=leaderboard", "method=dps", "dataset.kind=single", f"out={tmp_path}"]
    assert tune.main([*small, *new, f"budget={6 * CALLS}", f"results_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"for good: copy the row from {tmp_path} to conf/tuned"
    row = yaml.safe_load((tmp_path / "mixture" / "dps.yaml").read_text())["single_1000"]
    assert row["zeta"] != 0.3 and row["zeta_released"] == 0.3  # as in conf/tuned/mixture/dps.yaml


@pytest.mark.slow
def test_a_killed_search_goes_on_as_if_nothing_had_happened(folder: Path) -> None:
    command = ["tune", *arguments(folder, f"budget={4 * CALLS}")]
    running = start(folder, *command)
    while len([*records(folder)]) < 3:  # in the second trial
        time.sleep(0.01)
    running.process.kill()
    running.process.join()
    before = {path: path.stat().st_mtime_ns for path in records(folder)}
    assert 3 <= len(before) < 8 and not (folder / "tuned").exists()
    assert start(folder, *command).done().code == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in records(folder)}.items()
    killed = trials(folder)
    for path in ("tuned", "results"):
        (folder / path).rename(folder / f"former_{path}")
    assert start(folder, *command).done().code == 0
    pd.testing.assert_frame_equal(killed, trials(folder))


@pytest.mark.parametrize(
    ("others", "line"),
    [
        (["dataset.seed=7"], "dataset.seed=7: tuning takes validation images, dataset.seed=1000; leave it out"),
        (["metric=perceptual"], "metric=perceptual: no metric of an image to tune for; did you mean"),
        (["metric=psnr"], "metric=psnr: these runs do not have it; there are: "),
        (["budget=0"], "budget=0: must be a number of denoiser calls, at least 1"),
        (["budget=many"], "argument --budget: invalid int value: 'many'"),
        (["budget=299"], f"budget=299: a trial of 2 images takes about {CALLS} calls; give more"),
        (["method.search.zeta.low=20.0"], "method.search.zeta={'low': 20.0, 'high': 10.0, 'log': True}: must be "),
        (["method=flower", "~method.search"], "method.search: flower has no space to search; add to its YAML"),
        (["method=dps", "weighted=true"], "weighted=true: a method has one row, for both forms"),
        (["shards=2"], "shards=2: a search is one process; leave it out"),
        (["call_limit=9"], "call_limit=9: of a run; what a search may spend is budget=..."),
        (["dataset=toyfaces", "dataset.split=test"], "dataset.split=test: tuning takes validation images"),
        (["dataset=toyfaces", "draws=2"], "draws=2: a trial is one draw of each image; leave it out"),
        (["method.sample.zeta=2"], "method.search: mine has no space to search"),  # what is given is not searched
        (["method.sample.eta=2"], "method.sample.eta: no such key; "),
        (["steps=many"], "steps=many: must be a whole number"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str], others: list[str], line: str) -> None:
    keys = {one.partition("=")[0] for one in others}
    small = [one for one in arguments(folder) if one.partition("=")[0] not in keys]
    assert tune.main([*small, *others]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith(f"error: {line}")
    assert not (folder / "tuned").exists()

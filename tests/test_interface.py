"""The Python interface: the same runs, rows and tests as the command line's."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import ldsmc_bench as lb
from ldsmc_bench.errors import UserError
from tests.commands import runs, tiny

SMALL: dict[str, Any] = {"steps": 2, "n_images": 2, "device": "cpu", "wandb__mode": "disabled", "task": "box"}


def zeros(prior: Any, measurement: Any, noise: Any, trace: Any, *, steps: int, level: float = 0.0) -> torch.Tensor:
    return torch.full((len(measurement.y), 3, 64, 64), level)


def test_a_function_and_a_config_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = lb.run(zeros, **SMALL)
    assert set(mine["method"]) == {"zeros"} and len(mine) == 2
    theirs = lb.run("latent_dps", **SMALL, particles=1)
    done = lb.compare(mine, theirs, "psnr")
    assert done.n == 2 and done.low < done.difference < done.high
    # the command line finds the same run, and computes nothing again
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/records/*")}
    keys = ("method=latent_dps", "task=box", "particles=1", "steps=2", "n_images=2", "batch_size=auto")
    assert tiny(tmp_path, *keys).code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/records/*")} == before
    assert len(runs(tmp_path)) == 2
    assert set(lb.load_results()["method"]) == {"zeros", "latent_dps"}


def test_a_list_makes_a_run_of_each_value(tmp_path: Path) -> None:
    rows = lb.run(zeros, **SMALL, seed=[0, 1], results_dir=str(tmp_path / "a, b"))
    assert sorted(set(rows["seed"])) == [0, 1] and len(set(rows["run_id"])) == 2
    other = lb.run(zeros, **SMALL, method__sample__level=0.5, results_dir=str(tmp_path / "a, b"))
    assert set(other["run_id"]).isdisjoint(rows["run_id"]) and other["psnr"].mean() != rows["psnr"].mean()


def table(values: np.ndarray, **labels: Any) -> pd.DataFrame:
    """Images by seeds, as rows."""
    rows = [
        {"task": "box", "dataset": "toyfaces", "image_id": f"i{i}", "seed": s, "status": "ok", "psnr": values[i, s]}
        for i in range(values.shape[0])
        for s in range(values.shape[1])
    ]
    return pd.DataFrame(rows).assign(**labels)


def test_a_paired_difference_has_the_interval_and_p_of_the_textbook() -> None:
    number = np.random.default_rng(0)
    image, gain = 5 * number.standard_normal((20, 1)), 0.5 + 0.3 * number.standard_normal((20, 1))
    a, b = table(image + gain), table(image)
    found = lb.compare(a, b.sample(frac=1, random_state=0), "psnr")
    low, high = stats.t.interval(0.95, 19, gain.mean(), stats.sem(gain.ravel()))
    assert (found.difference, found.low, found.high) == pytest.approx((gain.mean(), low, high))
    assert found.p == pytest.approx(stats.wilcoxon(gain.ravel()).pvalue) and found.n == 20
    assert lb.compare(a, b[b["image_id"] != "i3"], "psnr").n == 19  # of images that both have


def test_wrong_selections_and_functions_are_refused_in_a_line(tmp_path: Path) -> None:
    rows = table(np.ones((2, 1)))
    for a, b, metric, why in (
        (rows, rows, "lpips", "a has no metric lpips"),
        (pd.concat([rows, rows]), rows, "psnr", "several runs of one seed"),
        (rows, rows.assign(task="sr4"), "psnr", "no image in common"),
    ):
        with pytest.raises(UserError, match=why):
            lb.compare(a, b, metric)
    with pytest.raises(UserError, match="give a function of a module"):
        lb.run(lambda *_, **__: None, results_dir=str(tmp_path))
    with pytest.raises(AttributeError, match="no attribute 'compute'"):
        lb.compute  # noqa: B018

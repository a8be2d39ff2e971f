"""The frames say what config.yaml, requested.json, the records and summary.json say."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.status import Request, request
from ldsmc_bench.records.store import Store, keep, open_store, write_summary
from ldsmc_bench.report.frame import diagnostics, rows, runs
from tests.records.kept import picture, row

CONFIG = """
protocol: 1
method: {name: ldsmc, sample: {_target_: f, _partial_: true, particles: 5, kappa1: 0.5, limits: [1, 2]}}
task: {name: freeform, noise_std: 0.01, operator: {_target_: g, size: 128}}
dataset: {name: toyfaces, digest: abc}
prior: {name: ldm_toyfaces, digest: def}
seed: 3
"""


@pytest.fixture
def one(tmp_path: Path) -> Store:
    store = open_store(tmp_path, "ldsmc-freeform-toyfaces-0123456789ab", CONFIG)
    labels = RunLabels("ldsmc", "freeform", "toyfaces", particles=5, steps=100, seed=3, variant="paper")
    request(store, Request((3,), labels))
    for index, image_id in enumerate("ab"):
        record = row(image_id)
        record["metrics"] = {"psnr": 20.0 + index}
        record["diagnostics"] = {"ess": [1.0 + index, 3.0], "resampled": [0.0, float(index)]}
        keep(store, record, picture(image_id))
    keep(store, row("c", "failed"))
    write_summary(store, {"n": 2, "sets": {"toyfaces_fid": 12.5, "warning": None, "networks": {"toyfaces": "1f"}}})
    return store


def test_a_run(tmp_path, one):
    [run] = runs(tmp_path).to_dict("records")
    expected = {
        "run_id": one.run_id, "method": "ldsmc", "variant": "paper", "task": "freeform", "dataset": "toyfaces",
        "prior": "ldm_toyfaces", "steps": 100, "particles": 5, "seed": 3, "n": 2, "n_failed": 1, "n_skipped": 0,
        "n_requested": 3, "complete": False, "skipped": None, "sample.kappa1": 0.5, "sample.limits": "[1, 2]",
        "task.noise_std": 0.01, "task.operator.size": 128, "prior.digest": "def", "sets.toyfaces_fid": 12.5,
    }  # fmt: skip
    assert {key: run[key] for key in expected} == expected
    keep(one, row("c"), picture("c"))
    assert bool(runs(tmp_path).complete[0])


def test_a_store_of_before_variants_has_the_default(tmp_path, one):
    path = one.root / "requested.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "variant"}))
    assert list(runs(tmp_path).variant) == ["default"]


def test_a_run_that_has_just_begun_or_lost_its_files_has_its_row(tmp_path, one):
    (one.root / "summary.json").write_text("{")
    (one.root / "config.yaml").write_text("a: [")
    new = open_store(tmp_path, "psld-box-toyfaces-ab", "seed: 1\n")
    request(new, Request((2,), RunLabels("psld", "box", "toyfaces", particles=1, steps=100, seed=1)))
    frame = runs(tmp_path)
    assert list(frame.n) == [2, 0] and list(frame.n_requested) == [3, 2]
    assert list(rows(tmp_path).run_id.unique()) == [one.run_id]


def test_images(tmp_path, one):
    frame = rows(tmp_path)
    assert list(frame.columns[:5]) == ["run_id", "image_id", "status", "error", "psnr"]
    assert list(frame.image_id) == ["a", "b", "c"] and list(frame.status) == ["ok", "ok", "failed"]
    assert list(frame.psnr[:2]) == [20, 21] and pd.isna(frame.psnr[2])
    assert frame.error[2] == "out of memory" and pd.isna(frame.error[0])
    assert list(frame["diagnostics.ess"][:2]) == [2.0, 2.5] and frame["cost.unet_forward"][0] == 100
    assert list(rows(tmp_path, [one.run_id], ["psnr"]).columns) == ["run_id", "image_id", "status", "error", "psnr"]


def test_no_runs(tmp_path):
    assert len(runs(tmp_path)) == 0 and len(rows(tmp_path)) == 0 and "psnr" not in rows(tmp_path)
    with pytest.raises(UserError, match="no run nowhere"):
        rows(tmp_path, ["nowhere"])
    with pytest.raises(UserError, match="absent cannot be read"):
        runs(tmp_path / "absent")


def test_steps(tmp_path, one):
    frame = diagnostics(tmp_path, one.run_id).set_index(["name", "step"])
    assert list(frame.index) == [("ess", 0), ("ess", 1), ("resampled", 0), ("resampled", 1)]
    assert list(frame.n) == [2, 2, 2, 2] and list(frame["mean"]) == [1.5, 3, 0, 0.5]
    assert frame.loc[("ess", 0), "q25"] == pytest.approx(1.25) and frame.loc[("ess", 0), "q50"] == 1.5

"""The table behind `twist=cal` against a prior whose look ahead is known, its cache, and a run that needs it."""

import json
from pathlib import Path

import pytest
import torch

from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.mixture.prior import mixture
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Calibrated
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.running import prediction_error
from ldsmc_bench.running.prediction_error import CalibratedPrior, calibrated, measured
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import configured, records, runs, tiny


def test_the_table_of_a_gaussian_is_its_posterior_variance() -> None:
    """Of z_0 ~ N(1, I) seen through noise at level a: 1 - a, an entry."""
    prior = mixture("single", 8, 0, 20, 0.1, 20.0).to(torch.device("cpu"), torch.float64)
    ids = [f"p{i}" for i in range(400)]
    x = 1 + Noise(0, ids, "x").normal("x", (8, 1, 1)).double()
    rows = measured(prior.conditioned([0] * 400), Measurement(x, Identity(), 0.1), x, Noise(0, ids, "calibration"))
    assert len(rows) == prediction_error.LEVELS
    for a, value in rows:
        assert value == pytest.approx(1 - a, rel=0.1)
    whole = CalibratedPrior(prior, tuple((a, 1 - a) for a, _ in rows))
    assert isinstance(whole, Calibrated)
    for a in (0.01, 0.3, 0.8, 0.99):
        variance = whole.prediction_error_variance(Identity(), a)
        assert variance.item() == pytest.approx(prediction_error.SAFETY * (1 - a), rel=0.05)
    for beyond, end in ((1e-9, rows[0]), (1 - 1e-9, rows[-1])):
        variance = whole.prediction_error_variance(Identity(), beyond)
        assert variance.item() == pytest.approx(prediction_error.SAFETY * (1 - end[0]))


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    settings = validate(configured("dataset=toyfaces", "task=sr8", "variant=exact", "device=cpu"))
    prior, problem = instantiate(settings.config["prior"]["load"]), problem_of(settings, toyfaces())
    calls: list[int] = []

    def once(*_: object) -> list[list[float]]:
        calls.append(1)
        return [[0.1, 0.5], [0.9, 0.1]]

    monkeypatch.setattr(prediction_error, "measured", once)
    first, second = (calibrated(settings, problem, prior).table for _ in range(2))
    assert first == second and len(calls) == 1
    (kept,) = (tmp_path / "calibrations").glob("*.json")
    assert json.loads(kept.read_text())["safety"] == prediction_error.SAFETY
    kept.write_text(kept.read_text()[:-20])
    calibrated(settings, problem, prior)
    assert len(calls) == 2
    other = validate(configured("dataset=toyfaces", "task=box", "variant=exact", "device=cpu"))
    calibrated(other, problem_of(other, toyfaces()), prior)
    assert len(calls) == 3


@pytest.mark.slow
def test_a_run_on_images_tells_how_sure_it_is(tmp_path: Path) -> None:
    """Two islands of two particles are far too few for a face: the run says so."""
    done = tiny(tmp_path, "variant=exact", "method.sample.islands=2", "n_images=1", "task=sr8")
    assert done.code == 0, done.err
    (run,) = runs(tmp_path)
    (record,) = records(run).values()
    assert len(record["diagnostics"]["log_evidence"]) == 2
    assert record["metrics"]["sd_log_evidence"] > 1
    assert "has not converged" in done.out

import math
from typing import Any

import pytest

from ldsmc_bench.records.summary import summarise


def record(psnr: float, *, seconds: float = 1.0, status: str = "ok", **more: float) -> dict[str, Any]:
    identity = {"run_id": "r", "method": "ldsmc", "task": "box", "dataset": "toyfaces", "steps": 100, "particles": 5}
    if status != "ok":
        return identity | {"status": status, "error": "out of luck", "metrics": {}, "cost": {}}
    return identity | {"status": status, "metrics": {"psnr": psnr, **more}, "cost": {"seconds": seconds}}


def test_mean_and_standard_error() -> None:
    summary = summarise(
        [record(20.0, seconds=1), record(22.0, seconds=1), record(27.0, seconds=4)], {"toyfaces_fid": 3.0}
    )
    assert summary["metrics"]["psnr"] == {"mean": 23.0, "se": pytest.approx(math.sqrt(13 / 3)), "n": 3}
    assert summary["cost"]["seconds"]["mean"] == 2.0
    assert summary["sets"] == {"toyfaces_fid": 3.0}
    assert (summary["method"], summary["particles"], summary["n"], summary["n_failed"]) == ("ldsmc", 5, 3, 0)


@pytest.mark.parametrize(
    "bad", [record(0, status="failed"), record(math.nan), record(math.inf), record(20, seconds=math.nan)]
)
def test_failed_and_non_finite_rows_are_counted_and_never_averaged(bad: dict[str, Any]) -> None:
    summary = summarise([record(20.0), bad, record(22.0)], {})
    assert (summary["n"], summary["n_failed"]) == (2, 1)
    assert summary["metrics"]["psnr"]["mean"] == 21.0
    assert summary["cost"]["seconds"] == {"mean": 1.0, "se": 0.0, "n": 2}


def test_one_image_has_no_standard_error_and_a_metric_may_be_absent_from_a_row() -> None:
    assert summarise([record(20.0)], {})["metrics"]["psnr"] == {"mean": 20.0, "se": None, "n": 1}
    unmeasured = record(30.0) | {"cost": {"seconds": 1.0, "peak_memory_mb": None}}
    some = summarise([record(20.0), record(30.0, misfit=1.5), unmeasured], {})
    assert some["metrics"]["misfit"] == {"mean": 1.5, "se": None, "n": 1}
    assert some["n"] == 3 and set(some["cost"]) == {"seconds"}


def test_when_everything_failed_there_are_no_means() -> None:
    summary = summarise([record(0, status="failed")], {})
    assert (summary["n"], summary["n_failed"], summary["metrics"], summary["cost"]) == (0, 1, {}, {})
    with pytest.raises(ValueError, match="records"):
        summarise([], {})

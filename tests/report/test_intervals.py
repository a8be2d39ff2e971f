"""Set metrics are shown with the interval that the scorer stored, on the page."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ldsmc_bench.report import frame
from ldsmc_bench.report.page import data
from ldsmc_bench.report.statistics import add_costs, interval, set_interval
from ldsmc_bench.scoring.metrics import set_metrics
from ldsmc_bench.scoring.reference import FeatureSpace, make_reference
from tests.report.stored import stored

IDS = [f"test-{i:06d}" for i in range(6)]


def scored(results: Path, seed: int = 0, **sample: Any) -> dict[str, Any]:
    """Store a run whose set metrics are the scorer's, of features that are skewed; returns them."""
    root = stored(results, "ldsmc", "box", IDS, seed=seed, pictures=False, **sample)
    number = np.random.default_rng(int(root.name[-8:], 16))
    space = FeatureSpace("toyfaces_fid", "toyfaces_kid", 2, "d", lambda images: number.exponential(size=(6, 2)))
    sets = set_metrics(space, [], make_reference(space, [torch.empty(0)], "faces"))
    path = root / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sets": sets}))
    return sets


def test_the_page_shows_the_stored_interval(tmp_path: Path) -> None:
    for metric in ("toyfaces_fid", "toyfaces_kid"):
        stored_ends = {}
        for particles in (1, 5):
            sets = scored(tmp_path, particles=particles)
            stored_ends[particles] = tuple(sets[f"{metric}{end}"] for end in ("", "_low", "_high"))
            value, low, high = stored_ends[particles]
            assert not math.isclose(value - low, high - value, rel_tol=0.01)  # no symmetric error would do
        runs, images = frame.runs(tmp_path), frame.images(add_costs(frame.rows(tmp_path)))
        for line in data.run_lines(runs, images, {}):
            value, low, high = stored_ends[line["particles"]]
            assert line["values"][metric][0] == pytest.approx(value, rel=1e-4)
            assert line["values"][metric][2:] == pytest.approx([low, high], rel=1e-4)


def test_several_seeds_add_their_spread(tmp_path: Path) -> None:
    known = [scored(tmp_path, seed=seed) for seed in (0, 1, 2)]
    runs = frame.runs(tmp_path)
    value, low, high = set_interval("toyfaces_fid", runs)
    values = [sets["toyfaces_fid"] for sets in known]
    assert value == pytest.approx(np.mean(values))
    below = np.sqrt(np.mean([(sets["toyfaces_fid"] - sets["toyfaces_fid_low"]) ** 2 for sets in known]))
    spread = 4.3027 * np.std(values, ddof=1) / math.sqrt(3)  # Student's t for three seeds
    assert value - low == pytest.approx(math.hypot(below, spread), rel=1e-4) and high > value
    one = set_interval("toyfaces_fid", runs.iloc[:1])
    assert one[1:] == pytest.approx((runs["sets.toyfaces_fid_low"][0], runs["sets.toyfaces_fid_high"][0]))
    assert all(map(math.isnan, set_interval("niqe", runs)))


def test_an_interval_over_images_is_students_over_those_that_all_have() -> None:
    runs = pd.DataFrame({"run_id": ["a", "b"]})
    values = {"a": [1.0, 2.0, 4.0, 4.5, 99.0], "b": [1.0, 3.0, 4.0, 5.0]}
    images = {run_id: pd.DataFrame({"psnr": column}) for run_id, column in values.items()}
    low, high = stats.ttest_1samp(values["b"], 0).confidence_interval(0.95)
    assert interval("psnr", runs.iloc[1:], images) == pytest.approx((np.mean(values["b"]), low, high))
    low, high = stats.ttest_1samp(values["a"][:4], 0).confidence_interval(0.95)
    assert interval("psnr", runs.iloc[:1], images, among=runs) == pytest.approx((np.mean(values["a"][:4]), low, high))
    one = interval("psnr", runs.iloc[:1], {"a": images["a"].iloc[:1]})
    assert one[0] == 1.0 and math.isnan(one[1])
    assert math.isnan(interval("ssim", runs, images)[0])

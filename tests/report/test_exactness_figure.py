"""The figure of exactness: medians, and lines of runs that differ in their particles alone."""

from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.report.figures.exactness import medians, styles
from tests.report.made import made


def known(results: Path, particles: int, *ratios: float, **sample: Any) -> None:
    images = {f"problem-{i}": {"sw1_ratio": ratio} for i, ratio in enumerate(ratios)}
    made(results, "ldsmc", "linear", images, dataset="mixture", variant="exact", particles=particles, **sample)


def test_lines_are_medians_of_runs_that_differ_in_particles_alone(tmp_path: Path) -> None:
    known(tmp_path, 1, 4.0, 2.0, 9.0, eta=0.5)
    known(tmp_path, 10, 2.0, 1.0, 1.5, eta=0.5)
    known(tmp_path, 10, 3.0, 3.0, 3.0, eta=1.0)
    lines, problems = medians(tmp_path)
    assert lines == {
        "LD-SMC, exact eta=0.5": {1: {"sw1_ratio": 4.0}, 10: {"sw1_ratio": 1.5}},
        "LD-SMC, exact eta=1": {10: {"sw1_ratio": 3.0}},
    }
    assert problems == "3 Gaussian mixtures, 100 steps, 0 draws each"


def test_other_problems_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for particles in (1, 10):
        known(tmp_path, particles, 2.0)
    known(tmp_path, 1, 5.0, seed=1)
    assert list(medians(tmp_path)[0]) == ["LD-SMC, exact"]
    assert capsys.readouterr().err == "1 runs on other problems or with other steps are left out\n"


def test_methods_are_told_apart_by_colour_and_their_variants_by_marks() -> None:
    methods = ["LD-SMC, exact", "LD-SMC, paper", "LD-SMC, released", "LTDS", "LDPS", "PSLD", "PFLD", "ReSample"]
    looks = styles([*methods, "LatentDAPS", "DPS"])
    assert len({look["colour"] for look in looks.values()}) == 8
    assert len({looks[name]["colour"] for name in methods[:3]}) == 1
    assert len({looks[name]["marker"] for name in methods[:3]}) == 3
    assert styles(["DPS"])["DPS"]["colour"] == looks["DPS"]["colour"]  # whatever else is drawn

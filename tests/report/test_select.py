"""What makes a run another run, and that tables, figures and page agree on it."""

from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench.report import frame
from ldsmc_bench.report.select import (
    curves,
    distinguishing_settings,
    group_runs,
    join_label,
    label_runs,
    problem_labels,
    select_sweep,
)
from tests.report.made import made, psnr
from tests.report.stored import TASKS, stored

IDS = ["a", "b"]
DIGEST = "5" * 64
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "protocol": ({"protocol": 1}, {"protocol": 2}),
    "precision": ({"precision": "fp32"}, {"precision": "bf16"}),
    "weights that agree in their first digits": (
        {"prior": {"name": "p", "digest": DIGEST + "0"}},
        {"prior": {"name": "p", "digest": DIGEST + "1"}},
    ),
    "noise that prints alike": (
        {"task": {**TASKS["box"], "noise_std": 0.1234567}},
        {"task": {**TASKS["box"], "noise_std": 0.1234568}},
    ),
    "a list that begins alike": ({"limits": [*range(20), 1]}, {"limits": [*range(20), 2]}),
    "another function": (
        {"task": {**TASKS["box"], "operator": {"_target_": "f"}}},
        {"task": {**TASKS["box"], "operator": {"_target_": "g"}}},
    ),
    "a truth value that is no number": ({"measurement": {"x": True}}, {"measurement": {"x": 1}}),
    "null that is no default": ({"measurement": {"x": None}}, {"measurement": {}}),
    "a part of which nobody knows": ({"later": {"deep": {}}}, {"later": {"deep": {"x": 1}}}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_runs_that_differ_in_any_value_share_no_curve_and_no_row(tmp_path: Path, what: str) -> None:
    for particles, parts in zip((1, 5), OTHERS[what], strict=True):
        stored(tmp_path, "ldsmc", "box", IDS, particles=particles, pictures=False, parts=parts)
    runs = frame.runs(tmp_path)
    assert list(curves(runs, "particles")) == [] and select_sweep(runs, "particles").empty
    for parts in OTHERS[what]:
        stored(tmp_path, "ldsmc", "box", IDS, seed=1, pictures=False, parts=parts)
    runs = frame.runs(tmp_path)
    runs = runs[runs.seed == 1]
    keys = ["method", "particles"]
    split = distinguishing_settings(runs, keys)
    assert split and [len(group) for _, group in group_runs(runs, [*keys, *split])] == [1, 1]
    first, second = (join_label("", said) for said in label_runs(runs))
    assert first != second


def test_a_version_is_a_part_of_the_run(tmp_path: Path) -> None:
    for version in (1, 2):
        method = {"name": "ldsmc", "version": version, "sample": {"steps": 20, "particles": 1}}
        stored(tmp_path, "ldsmc", "box", IDS, pictures=False, parts={"method": method})
    assert distinguishing_settings(frame.runs(tmp_path)) == ["method.version"]


def test_numbers_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    for seed, eta in enumerate((1, 1.0)):
        stored(tmp_path, "ldsmc", "box", IDS, seed=seed, eta=eta, parts={"x": "word"}, pictures=False)
    assert distinguishing_settings(frame.runs(tmp_path)) == []


def test_a_run_whose_config_cannot_be_read_is_like_no_other(tmp_path: Path) -> None:
    for particles in (1, 5, 5):
        root = stored(tmp_path, "ldsmc", "box", IDS, particles=particles, seed=particles, pictures=False)
        (root / "config.yaml").write_bytes(b"a: [\xff")
    runs = frame.runs(tmp_path)
    assert list(curves(runs, "particles")) == [] and distinguishing_settings(runs, ["particles"]) == []
    assert distinguishing_settings(runs) == ["particles"]


def test_arguments_of_one_name_in_several_places_are_both_named(tmp_path: Path) -> None:
    for eta, noise in ((0, 0), (0, 1), (1, 1)):
        task = {**TASKS["box"], "eta": noise}
        stored(tmp_path, "ldsmc", "box", IDS, eta=eta, pictures=False, parts={"task": task})
    assert len({join_label("", said) for said in label_runs(frame.runs(tmp_path))}) == 3


def test_a_word_has_no_place_on_an_axis(tmp_path: Path) -> None:
    for s in (0.1, 0.2, "auto"):
        stored(tmp_path, "ldsmc", "box", IDS, s=s, pictures=False)
    [(_, runs)] = curves(frame.runs(tmp_path), "sample.s")
    assert list(runs["sample.s"]) == [0.1, 0.2]


def test_runs_in_several_seeds_are_named_by_them_last(tmp_path: Path) -> None:
    for particles in (1, 5):
        for seed in (0, 1):
            stored(tmp_path, "ldsmc", "box", IDS, particles=particles, seed=seed, pictures=False)
    runs = frame.runs(tmp_path)
    assert distinguishing_settings(runs) == ["particles"]
    assert {join_label("ldsmc", said) for said in label_runs(runs)} == {
        f"ldsmc N={n} seed={s}" for n in (1, 5) for s in (0, 1)
    }


def test_runs_of_one_task_with_other_measurements_say_in_what(tmp_path: Path) -> None:
    """As the calibration of two methods, of which each has one noise level: their own settings do not tell it."""
    for method, noise_std in {"psld": 0.01, "ldsmc": 0.2}.items():
        made(tmp_path, method, "box", psnr([20.0]), noise_std=noise_std)
    made(tmp_path, "dps", "sr4", psnr([20.0]))
    labels = dict(zip((runs := frame.runs(tmp_path))["method"], problem_labels(runs), strict=True))
    assert labels == {"psld": {"noise_std": "0.01"}, "ldsmc": {"noise_std": "0.2"}, "dps": {"noise_std": "0.01"}}
    assert problem_labels(runs[runs["method"] != "ldsmc"]) == [{}, {}]

"""A campaign is looked at before it costs anything."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ldsmc_bench.cluster.jobs import Progress
from ldsmc_bench.commands.preflight import compared, fetched
from ldsmc_bench.commands.status import seconds_left
from ldsmc_bench.config import validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.check import check, record
from ldsmc_bench.fetch.sources import SOURCES, place
from ldsmc_bench.records.status import statuses
from ldsmc_bench.records.store import Store, draw_stores
from tests.commands import configured, start, tiny

LOOK = (
    *("--config-dir", str(Path(__file__).parent / "cluster" / "conf"), "task=box", "-m", "shard=range(2)", "shards=2"),
    *("steps=100", "n_images=4", "device=cpu"),
)


def test_a_campaign_is_counted_and_judged_by_a_short_run(tmp_path: Path) -> None:
    done = start(tmp_path, *LOOK, "method=gated", "particles=1,2", module="ldsmc_bench.preflight").done()
    assert (done.code, done.err) == (0, "")
    assert "4 points are 4 jobs and 2 runs\n" in done.out
    assert "dataset toyfaces: digest " in done.out and "prior ldm_toyfaces: digest " in done.out
    assert done.out.count("steps=100 particles=") == done.out.count(": 4 images missing, ") == 2
    assert "in all about " in done.out
    assert not any(path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_a_problem_of_a_known_posterior_takes_the_time_of_all_its_draws(tmp_path: Path) -> None:
    """Its record has the seconds of one; and it is missing where it has fewer draws than are asked for."""
    known = ("dataset=mixture", "method=dps", "task=linear", "n_images=1", "steps=2", "particles=1", "device=cpu")
    done = tiny(tmp_path, *known, "draws=60")
    assert done.code == 0, done.err
    (path,) = (tmp_path / "results" / "runs").glob("*/records/problem-0000.json")
    seconds = json.loads(path.read_text())["cost"]["seconds"]
    for draws, missing in ((60, 0), (200, 1)):
        look = start(tmp_path, *known, f"draws={draws}", module="ldsmc_bench.preflight").done()
        assert f": {missing} images missing, {draws * seconds:.3g} s an image" in look.out
    (row,) = statuses(tmp_path / "results")
    left = seconds_left(replace(row, missing=3), Progress(), draw_stores(Store(path.parents[1], row.run_id)))
    assert left == pytest.approx(3 * 60 * seconds)


def test_what_would_fail_is_told_once_and_points_of_the_same_work_are_counted(tmp_path: Path) -> None:
    choices = ("method=gated,psld", "particles=1,5", "--no-estimate")
    done = start(tmp_path, *LOOK, *choices, "steps=0", module="ldsmc_bench.preflight").done()
    assert done.code == 1
    assert done.errors == ["error: steps=0: must be a whole number of at least 1 and at most 100000 (8 points)"]
    assert "8 points are 6 jobs and 0 runs" in done.out


def test_the_fetched_files_of_a_campaign_are_those_of_its_prior_and_its_metrics() -> None:
    def files(*overrides: str) -> list[str]:
        return fetched(validate(configured(*overrides)).config)

    metrics = ["metric=lpips_vgg", "metric=lpips_alex", "metric=niqe", "metric=inception"]
    assert files("dataset=ffhq", "dataset.root=x") == ["prior=ldm_ffhq", *metrics]
    assert files("dataset=ffhq", "dataset.root=x", "prior.path=/my/own") == metrics
    assert files("dataset=ffhq", "dataset.root=x", "prior.random_weights=true") == metrics
    assert files() == files("dataset=mixture", "variant=exact") == []


def test_what_was_fetched_is_compared_with_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"not in the cache \(.*\): python -m ldsmc_bench fetch prior=ldm_ffhq"):
        compared("prior=ldm_ffhq")
    assert compared("metric=niqe").startswith("warning: metric=niqe is not in the cache")
    for name in ("prior=ldm_ffhq", "metric=niqe"):
        path = place(name, SOURCES[name])
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
        record(path, check(path, path), "a publisher")
        assert compared(name) == f"{name}: SHA-256 {check(path, path)[:12]}, as it came"
        path.write_bytes(b"damaged")
        with pytest.raises(UserError, match=f"its SHA-256 is .*, but was .*to replace it: .* {name} --force"):
            compared(name)

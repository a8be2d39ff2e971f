"""A campaign is looked at before it costs anything."""

from pathlib import Path

from tests.commands import start

LOOK = (
    *("--config-dir", str(Path(__file__).parent / "cluster" / "conf"), "task=box", "-m", "shard=range(2)", "shards=2"),
    *("steps=100", "n_images=4", "device=cpu"),
)


def test_a_campaign_is_counted_and_judged_by_a_short_run(tmp_path: Path) -> None:
    done = start(tmp_path, *LOOK, "method=gated", "particles=1,2", module="ldsmc_bench.preflight").done()
    assert (done.code, done.err) == (0, "")
    assert "4 points are 4 jobs and 2 runs:" in done.out
    assert "dataset toyfaces: digest " in done.out and "prior ldm_toyfaces: digest " in done.out
    assert done.out.count("steps=100 particles=") == done.out.count(": 4 images missing, ") == 2
    assert "in all about " in done.out
    assert not any(path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("."))


def test_what_would_fail_is_told_once_and_points_of_the_same_work_are_counted(tmp_path: Path) -> None:
    choices = ("method=gated,psld", "particles=1,5", "--no-estimate")
    done = start(tmp_path, *LOOK, *choices, "steps=0", module="ldsmc_bench.preflight").done()
    assert done.code == 1
    assert done.errors == ["error: steps=0: must be a whole number of at least 1 (8 points)"]
    assert "8 points are 6 jobs and 0 runs" in done.out

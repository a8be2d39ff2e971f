"""Runs that were scored before metrics' files came are scored again from their pictures."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ldsmc_bench.commands import rescore
from ldsmc_bench.files import file_digest
from tests.commands import tiny
from tests.scoring import standins

SIDE = 192
PAPERS = {"lpips_vgg", "lpips_alex", "niqe"}
ASKED = (
    "prior.load._target_=tests.sampling.gaussian.GaussianPrior",
    f"prior.image_size={SIDE}",
    f"+prior.load.shape=[3,{SIDE},{SIDE}]",
    f"+prior.load.image_size={SIDE}",
    "dataset=folder",
    "dataset.root=pictures",
    "n_images=3",
    "draws=2",
    "particles=1",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on three pictures, where no metric's file was."""
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        noise = Image.effect_noise((SIDE + i, SIDE), 40 + 10 * i)
        Image.blend(Image.effect_mandelbrot(noise.size, (-2, -1, 1, 1), 20 + i), noise, 0.5).save(
            tmp_path / "pictures" / f"{i}.png"
        )
    done = tiny(tmp_path, *ASKED)
    assert done.code == 0, done.err
    assert "not computed: LPIPS (VGG), LPIPS (Alex), NIQE, FID, KID;" in done.out
    monkeypatch.chdir(tmp_path)
    (found,) = (tmp_path / "results" / "runs").glob("ldsmc-*")
    return found


def records(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((run / "records").glob("*.json"))}


def test_what_is_missing_comes_from_the_pictures_and_all_else_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, second = records(run), records(run / "draws" / "1")
    assert all(record["metrics"].keys() == {"psnr", "ssim", "misfit"} for record in before.values())
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "cache"))
    standins.write(tmp_path / "cache")

    assert rescore.main([]) == 0
    after = records(run)
    assert [list(record["metrics"]) for record in after.values()] == [
        ["psnr", "ssim", "lpips_vgg", "lpips_alex", "niqe", "misfit"]
    ] * 3
    for image_id, record in after.items():
        kept = {name: value for name, value in record["metrics"].items() if name not in PAPERS}
        assert {**record, "metrics": kept} == before[image_id]
        assert all(record["metrics"][name] > 0 for name in PAPERS)
    for image_id, record in records(run / "draws" / "1").items():
        papers = {name: record["metrics"].pop(name) for name in PAPERS}
        assert record == second[image_id] and papers["niqe"] != after[image_id]["metrics"]["niqe"]
    summary = json.loads((run / "summary.json").read_text())
    sets = summary["sets"]
    assert summary["metrics"]["lpips_vgg"]["n"] == 3
    assert sets["fid_clean_low"] <= sets["fid_clean"] <= sets["fid_clean_high"]
    assert sets["kid_clean_low"] < sets["kid_clean"] < sets["kid_clean_high"]
    assert (sets["n"], sets["reference"], sets["reference_n"]) == (3, "the run's truths", 3)
    assert (
        sets["warning"] == "3 images are fewer than the 2048 feature dimensions: FID is biased upwards, trust KID more"
    )
    files = {path.parent.name: file_digest(path) for path in (tmp_path / "cache" / "metrics").glob("*/*")}
    assert summary["networks"] == {
        **{name: files[name] for name in PAPERS},
        "fid_clean": files["inception"],
        "kid_clean": files["inception"],
    }

    written = {path: path.stat().st_mtime_ns for path in run.glob("**/*.json")}
    assert rescore.main([]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.glob("**/*.json")} == written
    assert "0 of 6 records have more metrics now" in capsys.readouterr().out


def test_kept_truths_are_enough_and_without_them_a_line_says_why(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "cache"))
    standins.write(tmp_path / "cache", only="niqe")
    assert rescore.main(["results"]) == 0
    assert all("niqe" in record["metrics"] for record in records(run).values())
    warning = json.loads((run / "summary.json").read_text())["sets"]["warning"]
    assert "not computed: LPIPS (VGG), LPIPS (Alex), FID, KID;" in warning
    shutil.rmtree(tmp_path / "results" / "problems")
    standins.write(tmp_path / "cache", only="lpips_alex")
    assert rescore.main(["results"]) == 2
    assert "its true image is not kept (keep_problems=false" in capsys.readouterr().err


def test_a_results_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescore.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: results_dir=")


def test_runs_scored_by_their_draws_and_damaged_logs_take_nothing_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = ("dataset=mixture", "variant=exact", "draws=50", "n_images=1")
    assert tiny(tmp_path, *mixture).code == 0
    damaged = tmp_path / "results" / "launches" / "zzz"
    damaged.mkdir()
    (damaged / "0.json").write_text('{"run_')
    (run,) = (tmp_path / "results" / "runs").glob("ldsmc-*")
    before = records(run)
    assert rescore.main([str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out == f"{run.name}: scored by its draws, not by its pictures\n"
    assert records(run) == before

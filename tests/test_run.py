"""The run that puts the rooms together: the same measurement and restoration whatever the batch and its order."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import LIGHT, choices, configured, images, records, runs, tiny

FACES = replace(toyfaces(), load=cache(toyfaces().load))  # each is drawn once
IDS = FACES.ids[:3]
EXACT = ("precision=fp64", "steps=2", "particles=2", "device=cpu")


@pytest.mark.parametrize("task", choices("task"))
def test_a_measurement_depends_on_its_image_alone_bit_for_bit(task: str) -> None:
    def measured(ids: Sequence[str], *overrides: str) -> dict[str, Tensor]:
        cfg = configured(f"task={task}", *overrides)
        posed = load_batch(problem_of(validate(cfg), FACES), first_draws(ids), cfg.prior.image_size)
        assert posed.measurement is not None
        return dict(zip(posed.ids, posed.measurement.y, strict=True))

    together = measured(IDS)
    for other in (measured(IDS[::-1]), measured(IDS, "variant=paper", "particles=7", "batch_size=1", "precision=bf16")):
        assert all(torch.equal(other[image_id], y) for image_id, y in together.items())
    assert all(torch.equal(measured([image_id])[image_id], y) for image_id, y in together.items())
    assert not torch.equal(measured(IDS, "seed=1")[IDS[0]], together[IDS[0]])


@pytest.fixture(scope="module")
def prior() -> LatentPrior:
    return instantiate(configured().prior.load).to(torch.device("cpu"), torch.float64)


@pytest.mark.slow  # with the networks; tests of every sampler hold it for a prior in closed form
@pytest.mark.parametrize("overrides", [(), ("variant=paper", "task=sr4", "method.sample.latent_fit_iterations=2")])
def test_a_restoration_depends_on_its_image_alone_to_1e_6(prior: LatentPrior, overrides: tuple[str, ...]) -> None:
    cfg = configured(*EXACT, *overrides)
    settings = validate(cfg)

    def restored(ids: Sequence[str]) -> dict[str, Tensor]:
        posed = load_batch(problem_of(settings, FACES), first_draws(ids), 64)
        assert posed.measurement is not None
        measurement = posed.measurement.to(settings.device, settings.dtype)
        x = instantiate(cfg.method.sample)(prior, measurement, Noise(0, posed.ids, "sampler"), Trace())
        assert x.dtype == torch.float64
        return dict(zip(posed.ids, x, strict=True))

    together = restored(IDS[1::-1])  # the first is the second there
    torch.testing.assert_close(restored(IDS[:1])[IDS[0]], together[IDS[0]], rtol=0, atol=1e-6)
    assert (together[IDS[0]] - together[IDS[1]]).abs().max() > 0.01


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    gentle = ("method=latent_dps", "method.sample.zeta=0.5")  # two steps with strong guidance magnify any rounding
    done = tiny(tmp_path, "-m", "precision=fp32,bf16", "n_images=1", *gentle)
    assert (done.code, done.errors) == (0, [])
    first, second = (records(run)[IDS[0]]["metrics"]["psnr"] for run in runs(tmp_path))
    assert first != second
    assert first == pytest.approx(second, abs=1)


def no_metric_but(name: str, value: float) -> None:
    """From now on this metric of the first image has this value."""
    from ldsmc_bench.running import restore

    def metrics(*arguments: Any) -> dict[str, float]:
        return true(*arguments) | firsts.pop()

    firsts: list[dict[str, float]] = [{}, {name: value}]
    true, restore.paired_metrics = restore.paired_metrics, metrics


def test_a_metric_that_is_not_finite_fails_its_image_alone(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, "particles=1", first=partial(no_metric_but, "misfit", float("inf")))
    assert done.code == 1
    assert "Traceback" not in done.err
    (run,) = runs(tmp_path)
    assert {name: record["status"] for name, record in records(run).items()} == {IDS[0]: "failed", IDS[1]: "ok"}
    assert records(run)[IDS[0]]["error"] == "metrics.misfit is not finite"
    assert images(run).keys() == {IDS[1]}
    assert json.loads((run / "summary.json").read_text())["metrics"]["misfit"]["n"] == 1


def test_a_measurement_without_noise_has_no_misfit_but_all_else(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, "task.noise_std=0", "n_images=1", "variant=paper")
    assert (done.code, done.errors) == (0, [])
    (run,) = runs(tmp_path)
    assert records(run)[IDS[0]]["metrics"].keys() == {"psnr", "ssim", "toyfaces_perceptual"}


def test_enough_images_have_set_metrics(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, "n_images=3", "particles=1", "steps=1")
    assert (done.code, done.errors) == (0, [])
    (run,) = runs(tmp_path)
    sets = json.loads((run / "summary.json").read_text())["sets"]
    assert sets["toyfaces_fid"] > 0 and sets["toyfaces_fid_se"] > 0
    assert f"{sets['toyfaces_fid']:.2f} ± {sets['toyfaces_fid_se']:.2f}" in done.out


def test_another_size_than_the_feature_network_takes_has_the_other_metrics(tmp_path: Path) -> None:
    """As the papers' priors at 256 pixels; here a prior in closed form at 96."""
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.effect_mandelbrot((100 + i, 120), (-2, -1, 1, 1), 20 + i).save(tmp_path / "pictures" / f"{i}.png")
    closed = ("prior.load._target_=tests.sampling.gaussian.GaussianPrior", "prior.image_size=96")
    sizes = ("+prior.load.shape=[3,96,96]", "+prior.load.image_size=96")
    done = tiny(tmp_path, *closed, *sizes, "dataset=folder", "dataset.root=pictures", "n_images=3")
    assert done.code == 0, done.err
    (run,) = runs(tmp_path)
    assert all(set(record["metrics"]) == {"psnr", "ssim", "misfit"} for record in records(run).values())
    summary = json.loads((run / "summary.json").read_text())
    warning = summary["sets"]["warning"]
    assert summary["sets"] == {"warning": warning} and summary["networks"] == {}
    assert "not computed: LPIPS (VGG), LPIPS (Alex), FID, KID; bring their files: " in warning
    assert "python -m ldsmc_bench fetch" in warning
    assert warning in done.out and "sheet: " in done.out

"""Published priors: where their files are looked for, which weights they take, and what stands in for absent ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.convert import randomise
from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.digests import has_trained_weights
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.problem import load_batch
from tests.commands import TINY, choice, choices, configured, images, records, runs, start, tiny

FIXTURE = Path(__file__).parents[1] / "fixtures" / "compvis_ldm_vq4_unconditional"
SMALL = (f"prior.path={FIXTURE}", "prior.image_size=64", "prior=ldm_ffhq")
PRIORS = ("ldm_ffhq", "ldm_celeba")


def loaded(*overrides: str):
    return instantiate(validate(configured(*overrides)).config["prior"]["load"])


@pytest.mark.parametrize("name", PRIORS)
def test_an_absent_checkpoint_is_one_line_with_the_fetch_command(name):
    with pytest.raises(UserError, match=rf"python -m ldsmc_bench fetch prior={name}\b") as refusal:
        loaded(f"prior={name}")
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_the_command_says_so_too(tmp_path):
    done = tiny(tmp_path, "prior=ldm_ffhq")
    assert done.code == 2
    (line,) = done.errors
    assert "python -m ldsmc_bench fetch prior=ldm_ffhq" in line
    assert "Traceback" not in done.err


def test_files_are_looked_for_in_the_cache_unless_a_path_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    shutil.copytree(FIXTURE, tmp_path / "weights" / "ldm_celeba")
    from_cache = loaded("prior=ldm_celeba", "prior.image_size=64")
    assert from_cache.digest == loaded(*SMALL).digest


@pytest.mark.parametrize(
    ("overrides", "ema"),
    [
        ((), True),
        (("variant=paper",), True),
        (("variant=released",), False),
        (("variant=released", "prior.ema=true"), True),
        (("variant=default", "prior.ema=false"), False),
    ],
)
def test_averaged_weights_unless_the_variant_or_the_user_says_otherwise(overrides, ema):
    prior = loaded("method=ldsmc", *SMALL, *overrides)
    assert prior.digest == compvis.load(FIXTURE, ema=ema).digest


@pytest.mark.parametrize("method", choices("method"))
def test_a_variant_that_chooses_weights_says_true_or_false(method):
    chosen = [choice("method", method), *(choice(f"variant/{method}", name) for name in choices(f"variant/{method}"))]
    assert all(isinstance(one.get("ema", True), bool) for one in chosen)


def test_a_size_that_is_not_the_networks_is_named():
    with pytest.raises(UserError, match=r"prior\.image_size=256.*prior\.image_size=64"):
        loaded("prior=ldm_ffhq", f"prior.path={FIXTURE}")


@pytest.mark.parametrize("key", ["ema", "random_weights"])
def test_a_switch_is_true_or_false(key):
    with pytest.raises(UserError, match=rf"prior\.{key}=maybe: must be true or false"):
        loaded(*SMALL, f"prior.{key}=maybe")


def test_random_weights_need_no_file_and_are_announced(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    prior = loaded(*SMALL, "prior.random_weights=true")
    assert "RANDOM WEIGHTS" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert not has_trained_weights(prior) and has_trained_weights(loaded(*SMALL))
    z, t = torch.randn(2, *prior.shape), torch.tensor([10, 900])
    eps, x = prior.eps(z, t), prior.decode(z)
    assert x.shape == (2, 3, 64, 64)
    for output in (eps, x, prior.encode(x)):
        assert output.isfinite().all()
        assert 0.05 < output.std() < 20
        assert (output[0] - output[1]).abs().mean() > 0.01
    assert prior.encode(x).shape == z.shape


def test_random_weights_are_the_same_for_a_seed_and_leave_other_random_numbers_alone():
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 2))

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, same, other = randomise(build), randomise(build), randomise(build, seed=1)
    assert torch.equal(torch.rand(1), expected)
    for a, b, c in zip(first.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c) and not a.requires_grad


@pytest.mark.slow
def test_a_run_with_random_weights_keeps_pictures_and_scores_none(tmp_path):
    done = tiny(tmp_path, *SMALL, "prior.random_weights=true", "task=box")
    assert done.code == 0, done.err
    assert "RANDOM WEIGHTS" in done.err
    (run,) = runs(tmp_path)
    kept = records(run)
    assert len(kept) == len(images(run)) == 2
    assert all(record["status"] == "ok" and record["metrics"] == {} for record in kept.values())
    assert all(record["cost"]["denoiser_forward"] > 0 for record in kept.values())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"] == {} and summary["sets"].keys() == {"warning"}
    assert "RANDOM WEIGHTS" in summary["sets"]["warning"]
    assert "prior=ldm_ffhq has RANDOM WEIGHTS" in done.out  # below the table
    assert "random-weights" in (run / "config.yaml").read_text()
    assert tiny(tmp_path, *SMALL, "prior.random_weights=true", "task=box").code == 0  # nothing left to do


def test_images_of_another_size_than_the_priors_are_refused():
    settings = validate(configured("prior=ldm_ffhq", "dataset=toyfaces"))
    dataset = instantiate(settings.config["dataset"]["load"])
    with pytest.raises(UserError, match="dataset=toyfaces: its images are of 64 pixels, but the prior's of 256"):
        load_batch(problem_of(settings, dataset), first_draws(dataset.ids[:1]), 256)


@pytest.mark.slow
def test_a_guided_step_runs_at_full_size(tmp_path):
    """A minute on one core, and 5 GB: the largest latent networks at their full width, without their weights. Those of
    FFHQ fit together by test_compvis.py, and one in pixels runs in test_pixel.py."""
    image = torch.randint(0, 256, (256, 256, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(image.numpy()).save(tmp_path / "a.png")
    asked = ("prior=ldm_imagenet", "prior.random_weights=true", "dataset=folder", f"dataset.root={tmp_path}")
    one = ("method=ldsmc", "task=box", "n_images=1", "batch_size=1", "particles=1")
    done = start(tmp_path, *TINY, *asked, *one).done(seconds=3600)
    assert done.code == 0, done.err
    (run,) = runs(tmp_path)
    (record,) = records(run).values()
    assert record["status"] == "ok" and record["metrics"] == {}
    assert record["cost"]["denoiser_backward"] >= 2
    assert record["cost"]["decoder_backward"] >= 2
    with Image.open(run / "images" / f"{record['image_id']}.png") as restored:
        assert restored.size == (256, 256) and np.asarray(restored).std() > 1

"""Pixel priors: what they show a sampler, where they come from, and that the full size runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from baselines import dps
from ldsmc_bench import toyfaces
from ldsmc_bench.checkpoints import guided_diffusion
from ldsmc_bench.checkpoints.cache import weights_folder
from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.toyfaces import priors
from ldsmc_bench.toyfaces.training import render
from tests.commands import configured

FIXTURE = Path(__file__).parents[1] / "fixtures" / "guided_diffusion"
CPU = torch.device("cpu")
ADM: dict[str, Any] = {"name": "adm_ffhq", "image_size": 64, "path": str(FIXTURE), "published": "ffhq_10m.pt"}


@torch.no_grad()
def test_noise_and_variance_are_those_of_the_public_code() -> None:
    expected = load_file(FIXTURE / "expected.safetensors")
    prior = guided_diffusion.load(**ADM)
    eps, v = prior.eps_and_variance(expected["x"], expected["t"])
    assert v is not None
    assert (eps - expected["out"][:, :3]).abs().max() < 1e-4
    assert (2 * v - 1 - expected["out"][:, 3:]).abs().max() < 1e-4
    assert torch.equal(prior.eps(expected["x"], expected["t"]), eps)


def test_the_codec_is_the_identity() -> None:
    prior = guided_diffusion.load(**ADM)
    x = torch.rand(2, 3, 64, 64)
    assert prior.shape == (3, 64, 64) and torch.equal(prior.encode(x), x) and torch.equal(prior.decode(x), x)
    assert prior.conditioned([1, 2]) is prior


@torch.no_grad()
def test_the_embedded_prior_removes_noise_and_has_a_fixed_variance() -> None:
    """Predicting no noise at all has error 1; so would a denoiser that learned nothing."""
    prior = priors.pixel().to(CPU, torch.float32)
    x = render(toyfaces.ids("test")[:8]).float() / 127.5 - 1
    eps = Noise(0, [str(i) for i in range(8)], "test").normal("eps", prior.shape)
    a = float(prior.alpha_bar[300])
    predicted, v = prior.eps_and_variance(a**0.5 * x + (1 - a) ** 0.5 * eps, torch.full((8,), 300))
    assert v is None
    assert (predicted - eps).square().mean() < 0.1


@torch.no_grad()
def test_a_state_keeps_its_precision_in_a_network_of_another() -> None:
    x, t = torch.rand(1, 3, 64, 64, dtype=torch.float64), torch.tensor([500])
    single, double = (guided_diffusion.load(**ADM).to(CPU, dtype) for dtype in (torch.float32, torch.float64))
    assert single.eps(x, t).dtype == torch.float64
    assert torch.allclose(single.eps(x, t), double.eps(x, t), atol=1e-4)


def test_the_digest_follows_the_file_and_random_weights_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    real, random = guided_diffusion.load(**ADM), guided_diffusion.load(**ADM, random_weights=True)
    assert real.digest == guided_diffusion.load(**ADM).digest != random.digest
    assert random.digest.startswith("random-weights") and "RANDOM WEIGHTS" in capsys.readouterr().err
    weights = [next(prior.unet.parameters()) for prior in (real, random)]
    assert not torch.equal(weights[0], weights[1]) and not weights[1].requires_grad


@pytest.mark.parametrize("name", ["adm_ffhq", "adm_imagenet"])
def test_an_absent_file_is_named_with_the_command_that_fetches_it(name: str) -> None:
    cfg = configured(f"prior={name}")
    with pytest.raises(UserError, match=f"ldsmc_bench fetch prior={name}") as error:
        instantiate(validate(cfg).config["prior"]["load"])
    assert str(weights_folder(name)) in str(error.value) and cfg.prior.load.published in str(error.value)


def test_a_checkpoint_for_another_size_is_refused_by_key() -> None:
    with pytest.raises(UserError, match=r"prior\.image_size=256.*images of 64"):
        guided_diffusion.load(**ADM | {"image_size": 256})


def test_of_several_published_files_in_a_folder_the_priors_own_is_read(tmp_path: Path) -> None:
    for name in guided_diffusion.PUBLISHED:
        (tmp_path / name).touch()
    for name, model in guided_diffusion.PUBLISHED.items():
        assert guided_diffusion.describe(tmp_path, name) == (tmp_path / name, model)


@pytest.mark.parametrize(("name", "millions"), [("ffhq_10m.pt", 93.56), ("256x256_diffusion_uncond.pt", 552.81)])
def test_full_width_networks_have_the_published_number_of_weights(name: str, millions: float) -> None:
    with torch.device("meta"):
        unet = guided_diffusion.PUBLISHED[name].unet.build()
    assert sum(weight.numel() for weight in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.slow
def test_the_full_size_runs_a_step_of_dps() -> None:
    settings = validate(configured("method=dps", "dataset=ffhq", "prior.random_weights=true", "steps=1"))
    prior = instantiate(settings.config["prior"]["load"])
    y = Measurement(torch.zeros(1, 3, 256, 256), Identity(), 0.05)
    x = dps.sample(prior.to(CPU, torch.float32), y, Noise(0, ["a"], "test"), Trace(), **settings.sample)
    assert x.shape == (1, 3, 256, 256) and torch.isfinite(x).all()

"""The embedded prior, held against the faces that it must know."""

import numpy as np
import pytest
import torch

from ldsmc_bench import toyfaces
from ldsmc_bench.checkpoints import latent
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.codec import codes_of
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.scoring.distances import frechet_distance, moments
from ldsmc_bench.toyfaces import priors
from ldsmc_bench.toyfaces.features import features_of, load_features
from ldsmc_bench.toyfaces.prior_report import sample_prior
from ldsmc_bench.toyfaces.training import render

CPU = torch.device("cpu")
FACES = 24


@pytest.fixture(scope="module")
def prior() -> latent.LatentPrior:
    return priors.latent().to(CPU, torch.float32)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return render(toyfaces.ids("test")[:FACES]).float() / 127.5 - 1


@torch.no_grad()
def test_the_autoencoder_keeps_held_out_faces_at_30_db(prior: latent.LatentPrior, faces: torch.Tensor) -> None:
    x_hat = prior.decode(prior.encode(faces)).clamp(-1, 1)
    mse = (x_hat - faces).square().mean(dim=(1, 2, 3)) / 4
    assert (-10 * torch.log10(mse)).mean() > 30


@torch.no_grad()
def test_latents_have_unit_spread_and_the_shape_of_the_real_ones(
    prior: latent.LatentPrior, faces: torch.Tensor
) -> None:
    z = prior.encode(faces)
    assert z.shape[1:] == prior.shape == (3, 16, 16)
    assert z.std().item() == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_decoding_quantises(prior: latent.LatentPrior, faces: torch.Tensor) -> None:
    """A latent and its own codes decode alike."""
    z = prior.encode(faces[:2])
    codes = codes_of(prior.codec.codebook, z / prior.codec.scale) * prior.codec.scale
    assert not torch.allclose(z, codes, atol=1e-3)
    assert torch.allclose(prior.decode(z), prior.decode(codes), atol=1e-4)


@torch.no_grad()
def test_the_denoiser_removes_noise_at_every_level(prior: latent.LatentPrior, faces: torch.Tensor) -> None:
    """Predicting no noise at all has error 1; so would a denoiser that learned nothing."""
    z_0 = prior.encode(faces)
    for row, bound in zip(
        list(paper_chain(prior.alpha_bar, 10, 1.0).rows.values())[::3], (0.4, 0.2, 0.1, 0.05), strict=True
    ):
        eps = Noise(0, [str(i) for i in range(FACES)], "test").normal(f"level {row.t}", prior.shape)
        z = row.a**0.5 * z_0 + (1 - row.a) ** 0.5 * eps
        assert (prior.eps(z, torch.full((FACES,), row.t)) - eps).square().mean() < bound


@torch.no_grad()
def test_precisions_agree(faces: torch.Tensor) -> None:
    z = priors.latent().to(CPU, torch.float32).encode(faces[:2])
    t = torch.tensor([500, 20])
    double = priors.latent().to(CPU, torch.float64)
    reference = double.eps(z.double(), t)
    assert reference.dtype == torch.float64
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        prior = priors.latent().to(CPU, dtype)
        assert prior.codec.codebook.dtype == torch.float32
        assert prior.eps(z, t).dtype == torch.float32
        assert (prior.eps(z, t) - reference).abs().max() < tolerance * reference.abs().max()


@pytest.mark.slow
def test_samples_are_nearer_to_test_faces_than_noise_and_mush(prior: latent.LatentPrior) -> None:
    """Above the distance that two sets of 64 faces have by their size alone, samples are less than half as far from
    test faces as blurred faces (mush) are."""
    network = load_features()
    x = sample_prior(prior, Noise(0, [f"sample-{i}" for i in range(64)], "prior"), 20)
    samples = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    test = toyfaces.ids("test")
    faces, others = render(test[:64]), render(test[64:128])
    mush = torch.nn.functional.avg_pool2d(others.float(), 9, 1, 4, count_include_pad=False).round().to(torch.uint8)
    reference = moments(features_of(network, faces))
    distance = {
        name: frechet_distance(*moments(features_of(network, images)), *reference)
        for name, images in {"samples": samples, "mush": mush, "faces": others}.items()
    }
    assert np.isfinite(list(distance.values())).all()
    above = {name: value - distance["faces"] for name, value in distance.items()}
    assert above["samples"] < 0.5 * above["mush"]

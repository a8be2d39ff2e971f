"""The mixture of images against its definition: scores by autograd, posteriors by dense algebra and by importance."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.mixture import kde
from ldsmc_bench.mixture.kde import ImageMixture
from ldsmc_bench.mixture.posterior import Known
from ldsmc_bench.mixture.schedule import karras
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.operators import Operator
from ldsmc_bench.sampling.views import predict

SHAPE, FACES, TAU = (3, 8, 8), 20, 0.3
TASKS: dict[str, Callable[[int, Noise], Operator]] = {
    "linear": lambda side, noise: tasks.linear(side, noise, dy=3, channels=3),
    "sr": lambda side, noise: tasks.super_resolution(side, noise, scale=4),
    "mask": lambda side, noise: tasks.random(side, noise, missing=0.9),
    "colorize": lambda side, noise: tasks.colorize(side, noise, weights=(0.3, 0.5, 0.2)),
    "blur": lambda side, noise: tasks.gaussian_deblur(side, noise, sigma=20),
}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(count: int = FACES) -> Tensor:
    return 2 * torch.rand(count, *SHAPE, generator=generator(), dtype=torch.float64) - 1


def mixture(tau: float = TAU) -> ImageMixture:
    return ImageMixture(images(), tau, karras(20, 0.01, 100.0), "digest")


def measured(task: str, noise_std: float = 1.0) -> Measurement:
    x = images()[3:4] + TAU * torch.randn(1, *SHAPE, generator=generator(), dtype=torch.float64)
    taken = measure(x.float(), TASKS[task], Noise(0, ["a"], "m"), noise_std=noise_std, noise_in_hole=False)
    return taken.to("cpu", torch.float64)


def matrix(operator: Operator) -> Tensor:
    units = torch.eye(192, dtype=torch.float64).reshape(-1, *SHAPE)
    return operator.select(torch.zeros(192, dtype=torch.long))(units).flatten(1).T


@pytest.mark.parametrize("level", [5, 100, 150, 199])
def test_noise_is_predicted_by_the_score_of_the_noisy_law(level: int) -> None:
    prior = mixture()
    a = prior.alpha_bar[level]
    z = a.sqrt() * images()[:4] + (1 - a).sqrt() * torch.randn(4, *SHAPE, generator=generator(), dtype=torch.float64)
    eps = prior.eps(z, torch.full((4,), level))
    at, variance = z.flatten(1).requires_grad_(), a * TAU**2 + 1 - a
    squares = (at[:, None] - a.sqrt() * images().flatten(1)).square().sum(dim=2)
    (score,) = torch.autograd.grad(torch.logsumexp(-squares / (2 * variance), dim=1).sum(), at)
    assert torch.allclose(eps.flatten(1), -(1 - a).sqrt() * score, atol=1e-8)


def test_gradients_pass_the_denoiser() -> None:
    a = torch.tensor(0.05, dtype=torch.float64)
    z = images()[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: predict(mixture(), z, a), z, fast_mode=True)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 10.0])
def test_weights_keep_their_digits_in_float32(sigma: float) -> None:
    """Between two images that are alike, where noise is low, too."""
    means = 2 * torch.rand(8, 3, 64, 64, generator=generator()) - 1
    prior, a = ImageMixture(means, 0.1, karras(20), "digest"), torch.tensor([[1 / (1 + sigma**2)]], dtype=torch.float64)
    std = (a * 0.1**2 + 1 - a).sqrt()
    means[1] = means[0] + 3 * std.item() * torch.randn(3, 64, 64, generator=generator()) / 110
    z = (a.sqrt() * means[:1].flatten(1) + std * torch.randn(1, 12288, generator=generator())).float()
    exact = prior.to(torch.device("cpu"), torch.float64).log_weights(z.double(), a)
    found = prior.log_weights(z, a)
    assert (found - exact)[:, :2].diff().abs().max() < 0.01


@pytest.mark.parametrize("task", TASKS)
def test_the_posterior_is_that_of_dense_algebra(task: str) -> None:
    measurement, means = measured(task), images().flatten(1)
    posterior, log_evidence = mixture().posterior(measurement)
    a, y = matrix(measurement.operator), measurement.y.flatten()
    noise = float(torch.as_tensor(measurement.noise_std)) ** 2
    explained = TAU**2 * a @ a.T + noise * torch.eye(len(a), dtype=torch.float64)
    joint = torch.distributions.MultivariateNormal(means @ a.T, explained).log_prob(y) - torch.tensor(20.0).log()
    weights, gain = torch.softmax(joint, dim=0), TAU**2 * torch.linalg.solve(explained, a).T
    centres = means + (y - means @ a.T) @ gain.T
    covariance = TAU**2 * (torch.eye(192, dtype=torch.float64) - gain @ a)
    mean, variance = weights @ centres, covariance.diagonal() + weights @ (centres - weights @ centres).square()
    assert log_evidence == pytest.approx(float(joint.logsumexp(dim=0)))
    assert torch.allclose(posterior.weights, weights)
    assert torch.allclose(torch.stack(posterior.mean_and_variance()), torch.stack([mean, variance]), rtol=1e-6)
    draws = posterior.sample(5000, generator())
    components = torch.distributions.MultivariateNormal(centres, covariance)
    log_density = torch.logsumexp(weights.log() + components.log_prob(draws[:5, None]), dim=1)
    assert torch.allclose(posterior.log_density(draws[:5]), log_density, atol=1e-4)
    apart = (draws.mean(dim=0) - mean) / variance.sqrt()
    assert apart.abs().max() < 5 / 5000**0.5
    assert torch.allclose(draws.var(dim=0), variance, rtol=0.15)
    responsibilities = posterior.responsibilities(draws)
    assert torch.allclose(responsibilities.sum(dim=1), torch.ones(5000, dtype=torch.float64))
    assert torch.allclose(responsibilities.mean(dim=0), weights, atol=0.03)


def test_draws_are_those_of_the_prior_weighed_by_their_likelihood() -> None:
    measurement, component = measured("linear", 0.5), torch.arange(20_000) % FACES
    normal = torch.randn(20_000, *SHAPE, generator=generator(), dtype=torch.float64)
    x = images()[component] + TAU * normal
    missed = measurement.y.flatten() - x.flatten(1) @ matrix(measurement.operator).T
    noise_std = float(torch.as_tensor(measurement.noise_std))
    weights = torch.softmax(-0.5 * missed.square().sum(dim=1) / noise_std**2, dim=0)
    effective = 1 / float(weights.square().sum())
    assert effective > 500
    posterior, _ = mixture().posterior(measurement)
    draws = posterior.sample(5000, generator())
    error = draws.std(dim=0) * (1 / 5000 + 1 / effective) ** 0.5
    assert ((draws.mean(dim=0) - weights @ x.flatten(1)) / error).abs().max() < 4.5
    by_component = torch.zeros(FACES, dtype=torch.float64).index_add(0, component, weights)
    assert torch.allclose(posterior.weights, by_component, atol=0.03)


def test_images_alone_have_the_weights_of_bayes_rule() -> None:
    """Under an operator that is not linear."""
    overexposed = tasks.hdr(8, Noise(0, ["a"], "m"), gain=2.0)
    y = overexposed(images()[3:4]) + 2 * torch.randn(1, *SHAPE, generator=generator(), dtype=torch.float64)
    posterior, log_evidence = known = mixture(0.0).posterior(Measurement(y, overexposed, 2.0))
    likelihoods = [torch.distributions.Normal(overexposed(one), 2.0).log_prob(y[0]).sum() for one in images()]
    joint = torch.stack(likelihoods) - torch.tensor(20.0).log()
    assert isinstance(known, Known) and log_evidence == pytest.approx(float(joint.logsumexp(dim=0)))
    assert torch.allclose(posterior.weights, torch.softmax(joint, dim=0))
    draws = posterior.sample(200, generator())
    which = posterior.responsibilities(draws).argmax(dim=1)
    assert torch.equal(draws, images().flatten(1)[which])
    assert torch.allclose(posterior.log_density(draws).exp(), posterior.weights[which])
    mean, variance = posterior.mean_and_variance()
    assert torch.allclose(mean, posterior.weights @ images().flatten(1))
    assert torch.allclose(variance, posterior.weights @ (images().flatten(1) - mean).square())


def test_noisy_images_have_no_answer_under_it() -> None:
    overexposed = tasks.hdr(8, Noise(0, ["a"], "m"), gain=2.0)
    with pytest.raises(Unsupported, match="unlike dataset=empirical"):
        mixture().posterior(Measurement(images()[:1], overexposed, 1.0))


@pytest.mark.parametrize("task", ["linear", "mask"])
def test_the_error_of_the_look_ahead_is_that_of_draws(task: str) -> None:
    prior, operator, a = mixture(), measured(task).operator, 0.05
    component = torch.randint(FACES, (2000,), generator=generator())
    normal = torch.randn(2, 2000, *SHAPE, generator=generator(), dtype=torch.float64)
    x = images()[component] + TAU * normal[0]
    predicted = predict(prior, a**0.5 * x + (1 - a) ** 0.5 * normal[1], torch.tensor(a, dtype=torch.float64))
    missed = (x - predicted).flatten(1) @ matrix(operator).T
    found, expected = prior.prediction_error_variance(operator, a)[0], missed.T @ missed / 2000
    assert torch.allclose(found, expected, atol=0.25 * float(expected.diagonal().max()))
    assert float(found.diagonal().sum()) == pytest.approx(float(expected.diagonal().sum()), rel=0.2)


def test_problems_are_draws_of_the_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    kde.training_faces.cache_clear()
    dataset, prior = kde.problems("kde_faces", 3, 0.1, 0), kde.prior(3, 0.1, 20, 0.01, 400.0)
    apart = (dataset.load("problem-0007") - prior.means).flatten(1)
    assert sorted(apart.std(dim=1).tolist())[0] == pytest.approx(0.1, rel=0.02)
    assert torch.equal(dataset.load("problem-0007"), kde.problems("kde_faces", 3, 0.1, 0).load("problem-0007"))
    assert not torch.equal(dataset.load("problem-0007"), kde.problems("kde_faces", 3, 0.1, 1).load("problem-0007"))
    assert prior.digest != kde.prior(3, 0.2, 20, 0.01, 400.0).digest
    (cached,) = (tmp_path / "faces").iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])  # damaged
    kde.training_faces.cache_clear()
    assert torch.equal(kde.training_faces(3), prior.means)


@pytest.mark.parametrize(
    ("faces", "tau", "said"),
    [(0, 0.1, "dataset.faces=0: must be a whole number of 1 to 60000"), (3, -1, "dataset.tau=-1: must be a number")],
)
def test_problems_that_cannot_be_are_refused(faces: int, tau: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        kde.problems("kde_faces", faces, tau, 0)

"""The Gaussian mixture against its definition: scores by autograd, posteriors by Bayes' rule at points."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture.law import KINDS, GaussianMixture, law_of
from ldsmc_bench.mixture.law import mixture as problems
from ldsmc_bench.mixture.nonlinear import Nonlinear, clip, phase, quantise
from ldsmc_bench.mixture.prior import MixturePrior, mixture
from ldsmc_bench.mixture.schedule import karras
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.schedule import alpha_bar_at
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.sampling.chain import grid


def double(kind: str, dx: int = 4, steps: int = 20) -> MixturePrior:
    return mixture(kind, dx, 0, steps, 0.1, 100.0).to(torch.device("cpu"), torch.float64)


def log_density(law: GaussianMixture, z: Tensor) -> Tensor:
    """At the points z (n,d): (n,)."""
    normal = torch.distributions.MultivariateNormal(law.means, law.covariances)
    return torch.logsumexp(law.log_weights + normal.log_prob(z[:, None]), dim=1)


def points(rows: int, dx: int = 4) -> Tensor:
    return 8 * torch.randn(rows, dx, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0, 99, 150, 199])
def test_noise_is_predicted_by_the_score_of_the_noisy_law(kind: str, level: int) -> None:
    prior = double(kind).conditioned([3, 3, 1])
    z = points(6)  # two rows an image
    eps = prior.eps(z, torch.full((6,), level))
    a = float(prior.alpha_bar[level])
    for rows, number in ((slice(0, 4), 3), (slice(4, 6), 1)):
        law = law_of(kind, 4, 0, number)
        noisy = GaussianMixture(law.log_weights, a**0.5 * law.means, a * law.covariances + (1 - a) * torch.eye(4))
        at = z[rows].flatten(1).requires_grad_()
        (score,) = torch.autograd.grad(log_density(noisy, at).sum(), at)
        assert torch.allclose(eps[rows].flatten(1), -((1 - a) ** 0.5) * score, atol=1e-8)


def test_levels_between_training_steps_and_past_the_last() -> None:
    prior = double("lattice")
    low, high = prior.alpha_bar[[7, 8]]
    assert alpha_bar_at(prior.alpha_bar, torch.tensor([7.25])).item() == pytest.approx(float(0.75 * low + 0.25 * high))
    assert alpha_bar_at(prior.alpha_bar, torch.tensor([-1, 7, 200, 10_000])).tolist() == [
        float(prior.alpha_bar[step]) for step in (0, 7, -1, -1)
    ]


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 100])
def test_evenly_spaced_steps_are_the_karras_grid(steps: int) -> None:
    alpha_bar = karras(steps, 0.1, 100.0)
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()[grid(alpha_bar, steps)]
    place = torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.ones(1, dtype=torch.float64)
    expected = (0.1 ** (1 / 7) + place * (100.0 ** (1 / 7) - 0.1 ** (1 / 7))) ** 7
    assert torch.allclose(sigma, expected)
    assert (alpha_bar.diff() < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_is_bayes_rule(kind: str) -> None:
    law = law_of(kind, 4, 0, 2)
    matrix = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, z = torch.tensor([3.0, -2.0], dtype=torch.float64), points(9).flatten(1)
    posterior, log_evidence = law.given(matrix, y, 0.7)
    likelihood = torch.distributions.Normal(z @ matrix.T, 0.7).log_prob(y).sum(dim=1)
    assert torch.allclose(log_density(posterior, z), log_density(law, z) + likelihood - log_evidence)
    assert posterior.log_weights.exp().sum() == pytest.approx(1)


def test_draws_have_the_laws_moments() -> None:
    law = law_of("scattered", 4, 0, 0)
    draws = law.sample(100_000, torch.Generator().manual_seed(0))
    mean, covariance = law.moments()
    assert torch.allclose(draws.mean(dim=0), mean, atol=0.1)
    assert torch.allclose(draws.T.cov(), covariance, rtol=0.03, atol=0.4)


@pytest.mark.parametrize("kind", ["lattice", "scattered"])
def test_a_posterior_of_many_entries_is_that_of_dense_formulas(kind: str) -> None:
    """By precisions, where the law is kept by the few vectors in which its covariances differ from I."""
    dx, noise_std = 80, 0.3
    law = law_of(kind, dx, 0, 1)
    matrix = torch.randn(3, dx, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / dx**0.5
    x = law.sample(6, torch.Generator().manual_seed(0))
    posterior, log_evidence = law.given(matrix, matrix @ x[0], noise_std)
    precisions = torch.linalg.inv(law.covariances)
    covariances = torch.linalg.inv(precisions + matrix.T @ matrix / noise_std**2)
    heads = (precisions @ law.means[..., None])[..., 0] + matrix.T @ matrix @ x[0] / noise_std**2
    assert torch.allclose(posterior.covariances, covariances)
    assert torch.allclose(posterior.means, (covariances @ heads[..., None])[..., 0])
    likelihood = torch.distributions.Normal(x @ matrix.T, noise_std).log_prob(matrix @ x[0]).sum(dim=1)
    assert torch.allclose(law.log_density(x), log_density(law, x))
    assert torch.allclose(posterior.log_density(x), log_density(law, x) + likelihood - log_evidence)
    mean, covariance = posterior.moments()
    assert all(map(torch.allclose, posterior.mean_and_variance(), (mean, covariance.diagonal())))


def test_a_problem_of_800_entries_is_small_and_its_draws_are_right() -> None:
    law = law_of("scattered", 800, 0, 0)
    matrix = torch.randn(4, 800, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 800**0.5
    posterior, _ = law.given(matrix, matrix @ law.means[2], 0.1)
    kept = [value.numel() for value in (posterior.means, posterior.within, posterior.basis) if value is not None]
    assert sum(kept) < 10 * 800 * 7  # of ten components: where each lies, and the five directions that are known
    draws = posterior.sample(4000, torch.Generator().manual_seed(0))
    best = posterior.weights.argmax()
    assert posterior.weights[best] > 0.99
    assert torch.allclose((draws @ matrix.T).T.cov(), matrix @ posterior.covariances[best] @ matrix.T, atol=1e-3)
    mean, variance = posterior.mean_and_variance()
    assert ((draws.mean(dim=0) - mean).abs() < 5 * (variance / 4000).sqrt()).all()
    assert (draws.var(dim=0) / variance - 1).abs().mean() < 0.03
    assert (posterior.responsibilities(draws)[:, best] > 0.5).double().mean() > 0.98


def test_the_noise_at_the_start_grows_with_the_length_of_the_means() -> None:
    for dx, level in ((2, 100.0), (8, 100.0), (80, 316.2), (800, 1000.0)):
        a = mixture("lattice", dx, 0, 20, 0.1, None).alpha_bar[-1]
        assert float(((1 - a) / a).sqrt()) == pytest.approx(level, rel=1e-3)
    assert mixture("lattice", 8, 0, 20, 0.1, None).digest == mixture("lattice", 8, 0, 20, 0.1, 100.0).digest


def test_the_lattice_is_that_of_mcgdiff() -> None:
    drawn = law_of("lattice", 6, 0, 0)
    assert drawn.means.shape == (25, 6)
    assert {tuple(row) for row in drawn.means.tolist()} == {
        (-8.0 * i, -8.0 * j) * 3 for i in range(-2, 3) for j in range(-2, 3)
    }
    assert torch.equal(drawn.covariances, torch.eye(6, dtype=torch.float64).expand(25, 6, 6))
    assert drawn.log_weights.exp().sum() == pytest.approx(1)


def test_what_the_look_ahead_leaves_open_of_a_single_gaussian_is_its_posterior_variance() -> None:
    prior = double("single").conditioned([0])
    matrix = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = Linear(matrix, torch.ones(1), torch.zeros(3, dtype=torch.long), prior.shape)
    a = 0.3
    posterior, _ = law_of("single", 4, 0, 0).given(a**0.5 * torch.eye(4).double(), torch.zeros(4), 0.7**0.5)
    expected = matrix[0] @ posterior.covariances[0] @ matrix[0].T
    assert torch.allclose(prior.prediction_error_variance(operator, a)[0], expected)
    with pytest.raises(UserError, match="task=linear"):
        prior.prediction_error_variance(Identity(), a)


@pytest.mark.parametrize("task", [phase, partial(clip, limit=1.0), partial(quantise, bits=8, step=0.02)])
@pytest.mark.parametrize("a", [0.2, 0.9, 0.999])
def test_what_the_look_ahead_leaves_open_is_not_above_its_bound_where_f_bends(
    task: Callable[..., Nonlinear], a: float
) -> None:
    """Of N(1, I), whose look ahead z0_hat = 1 + sqrt(a) (z - sqrt(a)) errs by a normal number of variance 1 - a."""
    prior, rows = double("single").conditioned([0] * 20_000), 20_000
    operator = task(1, Noise(0, ["a"], "test"), dy=2, channels=4).select(torch.zeros(rows, dtype=torch.long))
    operator, generator = operator.to("cpu", torch.float64), torch.Generator().manual_seed(0)
    z0_hat = 1 + a**0.5 * torch.randn(rows, 4, 1, 1, generator=generator, dtype=torch.float64)
    z_0 = z0_hat + (1 - a) ** 0.5 * torch.randn(rows, 4, 1, 1, generator=generator, dtype=torch.float64)
    error = (operator(z_0) - operator(z0_hat)).square().mean(dim=0).flatten()
    bound = prior.prediction_error_variance(operator, a)[0].diagonal()
    assert (error < 1.05 * bound).all()
    assert (error > 0.02 * bound).all()


def test_problems_are_their_own_and_repeat() -> None:
    first, again, other = (problems("lattice", 8, seed) for seed in (0, 0, 1))
    assert torch.equal(first.load("problem-0003"), again.load("problem-0003"))
    assert not torch.equal(first.load("problem-0003"), first.load("problem-0004"))
    assert not torch.equal(first.load("problem-0003"), other.load("problem-0003"))
    assert first.digest == again.digest != other.digest
    pinned = problems("scattered", 8, 0).load("problem-0003").flatten()[:2]  # as of all earlier runs
    assert pinned.tolist() == pytest.approx([2.1417270, -0.3072934], abs=1e-5)
    assert first.labels is not None and first.labels["problem-0003"] == 3


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"kind": "round"}, "dataset.kind=round: must be lattice or scattered or single"),
    ({"dx": 3}, "dataset.dx=3: the lattice lies in pairs of dimensions"),
    ({"dx": 0}, "dataset.dx=0: must be a whole number of at least 1"),
]


@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_problems_that_cannot_be_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        problems(**{"kind": "lattice", "dx": 8, "seed": 0} | changed)  # type: ignore[arg-type]

"""Problems whose posterior is known: vectors of a Gaussian mixture, and the mixture's laws in closed form."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.datasets import Dataset

PROBLEMS = 10_000  # as many as there are names for


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A law of vectors: log-weights (K,), means (K,d) and covariances (K,d,d) of its components, float64."""

    log_weights: Tensor
    means: Tensor
    covariances: Tensor

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Independent draws (n,d)."""
        component = torch.multinomial(self.log_weights.exp(), draws, replacement=True, generator=generator)
        normal = torch.randn(draws, self.means.shape[1], 1, dtype=torch.float64, generator=generator)
        roots = torch.linalg.cholesky(self.covariances)
        return self.means[component] + (roots[component] @ normal)[..., 0]

    def log_density(self, z: Tensor) -> Tensor:
        """At the points z (n,d): (n,)."""
        law = torch.distributions.MultivariateNormal(self.means, self.covariances)
        return torch.logsumexp(self.log_weights + law.log_prob(z[:, None]), dim=1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d,d)."""
        weights = self.log_weights.exp()
        mean = weights @ self.means
        apart = self.means - mean
        within = torch.einsum("k,kij->ij", weights, self.covariances)
        return mean, within + torch.einsum("k,ki,kj->ij", weights, apart, apart)

    def given(self, matrix: Tensor, y: Tensor, noise_std: float) -> tuple["GaussianMixture", float]:
        """The posterior given y = A z + noise_std n, for A (dy,d) and y (dy,), and the log-evidence log p(y)."""
        identity = torch.eye(len(y), dtype=torch.float64)
        explained = matrix @ self.covariances @ matrix.T + noise_std**2 * identity  # of y, by component
        gain = torch.linalg.solve(explained, matrix @ self.covariances).mT
        log_likelihood = torch.distributions.MultivariateNormal(self.means @ matrix.T, explained).log_prob(y)
        log_evidence = torch.logsumexp(self.log_weights + log_likelihood, dim=0)
        means = self.means + (gain @ (y - self.means @ matrix.T)[..., None])[..., 0]
        kept = torch.eye(self.means.shape[1], dtype=torch.float64) - gain @ matrix
        covariances = kept @ self.covariances @ kept.mT + noise_std**2 * gain @ gain.mT  # Joseph's form: symmetric
        log_weights = self.log_weights + log_likelihood - log_evidence
        return GaussianMixture(log_weights, means, covariances), float(log_evidence)


@dataclass(frozen=True, eq=False)
class Components:
    """A mixture whose components have covariance I + v v^T: log-weights (K,), means (K,d) and spikes v (K,d)."""

    log_weights: Tensor
    means: Tensor
    spikes: Tensor

    def law(self) -> GaussianMixture:
        identity = torch.eye(self.means.shape[1], dtype=torch.float64)
        covariances = identity + self.spikes[:, :, None] * self.spikes[:, None, :]
        return GaussianMixture(self.log_weights, self.means, covariances)


def lattice(dx: int, noise: Noise) -> Components:
    """25 Gaussians of unit covariance, at (-8i,-8j,-8i,-8j,...) for i, j in -2..2, with random weights.

    (Cardoso et al. 2024, MCGdiff.) Raises UserError where dx is odd.
    """
    if dx % 2:
        raise UserError(f"dataset.dx={dx}: the lattice lies in pairs of dimensions; choose an even number")
    means = torch.tensor(list(product(range(-2, 3), repeat=2)), dtype=torch.float64).repeat(1, dx // 2) * -8
    return Components(_log_weights(noise, 25), means, torch.zeros_like(means))


def scattered(dx: int, noise: Noise) -> Components:
    """10 Gaussians at random: means uniform in [-8,8), covariances I + v v^T with v uniform in [0,1), random weights.

    (Cardoso et al. 2025: the harder mixtures of their Feynman-Kac samplers' benchmark.)
    """
    means = noise.uniform("means", (10, dx))[0] * 16 - 8
    return Components(_log_weights(noise, 10), means, noise.uniform("spikes", (10, dx))[0])


def single(dx: int, noise: Noise) -> Components:
    """One Gaussian N(1, I): a sampler's chain is then affine, and its law known exactly for any number of steps."""
    ones = torch.ones(1, dx, dtype=torch.float64)
    return Components(torch.zeros(1, dtype=torch.float64), ones, torch.zeros_like(ones))


KINDS: dict[str, Callable[[int, Noise], Components]] = {"lattice": lattice, "scattered": scattered, "single": single}


def components(kind: str, dx: int, seed: int, number: int) -> Components:
    """The mixture of problem `number`. Raises UserError for an unknown kind."""
    if kind not in KINDS:
        raise UserError(f"dataset.kind={kind}: must be {' or '.join(KINDS)}")
    return KINDS[kind](dx, Noise(seed, [name_of(number)], f"mixture/{kind}/{dx}"))


def name_of(number: int) -> str:
    return f"problem-{number:04d}"


def mixture(kind: str, dx: int, seed: int, repetitions: int) -> Dataset:
    """Problems as a data set: the "image" of problem-0003 is the vector (dx,1,1) that was measured, drawn from the
    problem's own mixture; its label is its number. `repetitions` independent runs will restore each.

    Raises UserError for a kind, a size or a number of repetitions that cannot be.
    """
    for key, value in (("dx", dx), ("repetitions", repetitions)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"dataset.{key}={value}: must be a whole number of at least 1")
    components(kind, dx, seed, 0)  # refuses what cannot be, before anything starts
    numbers = {name_of(number): number for number in range(PROBLEMS)}

    def load(problem: str) -> Tensor:
        generator = torch.Generator().manual_seed(_seed(f"{seed} {kind} {dx} {problem}"))
        drawn = components(kind, dx, seed, numbers[problem]).law().sample(1, generator)
        return drawn.reshape(dx, 1, 1).float()

    meaning = f"{kind} dx={dx} seed={seed} repetitions={repetitions}"
    return Dataset("mixture", list(numbers), load, hashlib.sha256(meaning.encode()).hexdigest(), numbers)


def _log_weights(noise: Noise, count: int) -> Tensor:
    """Squares of normal draws, normalised."""
    weights = noise.normal("weights", (count,))[0].double().square()
    return torch.log(weights / weights.sum())


def _seed(words: str) -> int:
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "little")


def prior_variance(law: GaussianMixture) -> float:
    """The law's variance per coordinate: what a denoiser leaves unexplained where it sees nothing."""
    _, covariance = law.moments()
    return float(covariance.diagonal().mean())

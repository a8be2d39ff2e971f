"""Problems with a posterior in closed form: vectors of a Gaussian mixture."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.datasets import Dataset

PROBLEMS = 10_000  # the number of names


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A law of vectors: log-weights (K,), means (K,d) and covariances (K,d,d) of its components, float64; the latter
    are I + v v^T where there are `spikes` v (K,d)."""

    log_weights: Tensor
    means: Tensor
    covariances: Tensor
    spikes: Tensor | None = None

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Independent draws (n,d)."""
        component = torch.multinomial(self.log_weights.exp(), draws, replacement=True, generator=generator)
        normal = torch.randn(draws, self.means.shape[1], 1, dtype=torch.float64, generator=generator)
        roots = torch.linalg.cholesky(self.covariances)
        return self.means[component] + (roots[component] @ normal)[..., 0]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d,d)."""
        weights = self.log_weights.exp()
        mean = weights @ self.means
        apart = self.means - mean
        within = torch.einsum("k,kij->ij", weights, self.covariances)
        return mean, within + torch.einsum("k,ki,kj->ij", weights, apart, apart)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each entry, (d,) and (d,)."""
        mean, covariance = self.moments()
        return mean, covariance.diagonal()

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) at the points x (n,d)."""
        return torch.logsumexp(self._joint(x), dim=1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """(n,K), the probability of each component given x (n,d)."""
        return torch.softmax(self._joint(x), dim=1)

    @property
    def weights(self) -> Tensor:
        """(K,)."""
        return self.log_weights.exp()

    def _joint(self, x: Tensor) -> Tensor:
        """log w_k N(x; mu_k, C_k), (n,K)."""
        components = torch.distributions.MultivariateNormal(self.means, self.covariances)
        return self.log_weights + components.log_prob(x[:, None])

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


def lattice(dx: int, noise: Noise) -> GaussianMixture:
    """25 Gaussians of unit covariance, at (-8i,-8j,-8i,-8j,...) for i, j in -2..2, with random weights (Cardoso et al.
    2024, MCGdiff). Raises UserError for an odd dx."""
    if dx % 2:
        raise UserError(f"dataset.dx={dx}: the lattice lies in pairs of dimensions; choose an even number")
    means = torch.tensor(list(product(range(-2, 3), repeat=2)), dtype=torch.float64).repeat(1, dx // 2) * -8
    return _spiked(_log_weights(noise, 25), means, torch.zeros_like(means))


def scattered(dx: int, noise: Noise) -> GaussianMixture:
    """10 Gaussians at random: means uniform in [-8,8), covariances I + v v^T with v uniform in [0,1), random weights
    (Cardoso et al. 2025: the harder mixtures of their Feynman-Kac samplers' benchmark)."""
    means = noise.uniform("means", (10, dx))[0] * 16 - 8
    return _spiked(_log_weights(noise, 10), means, noise.uniform("spikes", (10, dx))[0])


def single(dx: int, noise: Noise) -> GaussianMixture:
    """One Gaussian N(1, I): a sampler's chain is then affine, and its law has a closed form for any number of steps."""
    ones = torch.ones(1, dx, dtype=torch.float64)
    return _spiked(torch.zeros(1, dtype=torch.float64), ones, torch.zeros_like(ones))


KINDS = {
    "lattice": lattice,
    "scattered": scattered,
    "single": single,
}


@lru_cache(maxsize=256)
def law_of(kind: str, dx: int, seed: int, number: int) -> GaussianMixture:
    """The mixture of problem `number`. Raises UserError for an unknown kind."""
    if kind not in KINDS:
        raise UserError(f"dataset.kind={kind}: must be {' or '.join(KINDS)}")
    return KINDS[kind](dx, Noise(seed, [name_of(number)], f"mixture/{kind}/{dx}"))


def name_of(number: int) -> str:
    return f"problem-{number:04d}"


def mixture(kind: str, dx: int, seed: int) -> Dataset:
    """Problems as a data set: the "image" of problem-0003 is a vector (dx,1,1) drawn from the problem's own mixture,
    its label is its number. Raises UserError for a wrong argument."""
    if not isinstance(dx, int) or isinstance(dx, bool) or dx < 1:
        raise UserError(f"dataset.dx={dx}: must be a whole number of at least 1")
    law_of(kind, dx, seed, 0)  # refuses an impossible kind or dx before anything starts
    numbers = {name_of(number): number for number in range(PROBLEMS)}

    def load(problem: str) -> Tensor:
        digest = hashlib.sha256(f"{seed} {kind} {dx} {problem}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        drawn = law_of(kind, dx, seed, numbers[problem]).sample(1, generator)
        return drawn.reshape(dx, 1, 1).float()

    meaning = f"{kind} dx={dx} seed={seed}"
    return Dataset("mixture", list(numbers), load, hashlib.sha256(meaning.encode()).hexdigest(), numbers)


def _log_weights(noise: Noise, count: int) -> Tensor:
    """Squares of normal draws, normalised."""
    weights = noise.normal("weights", (count,))[0].double().square()
    return torch.log(weights / weights.sum())


def _spiked(log_weights: Tensor, means: Tensor, spikes: Tensor) -> GaussianMixture:
    identity = torch.eye(means.shape[1], dtype=torch.float64)
    return GaussianMixture(log_weights, means, identity + spikes[:, :, None] * spikes[:, None, :], spikes)

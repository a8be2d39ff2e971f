"""Problems with a posterior in closed form: vectors of a Gaussian mixture."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.datasets import Dataset

PROBLEMS = 10_000  # the number of names
SMALL = 64  # entries up to which draws are those by the Cholesky factors of whole covariances


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A law of vectors: log-weights (K,) and means (K,d) of its components, float64, and their covariances.

    These are `within` (K,r,r) in the span of an orthonormal `basis` U (K,d,r), and I outside; without a basis they
    are `within`, (K,d,d). A problem of 800 entries is then a few vectors a component. `spikes` v (K,d) are there where
    the covariances are I + v v^T.
    """

    log_weights: Tensor
    means: Tensor
    within: Tensor
    basis: Tensor | None = None
    spikes: Tensor | None = None

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Independent draws (n,d)."""
        component = torch.multinomial(self.weights, draws, replacement=True, generator=generator)
        normal = torch.randn(draws, self.means.shape[1], dtype=torch.float64, generator=generator)
        if normal.shape[1] <= SMALL:
            roots = torch.linalg.cholesky(self.covariances)
            return self.means[component] + (roots[component] @ normal[..., None])[..., 0]
        x, roots, span = torch.empty_like(normal), torch.linalg.cholesky(self.within), self._span
        for k in component.unique().tolist():
            rows = component == k
            inside = normal[rows] @ span[k]
            x[rows] = self.means[k] + normal[rows] + (inside @ roots[k].T - inside) @ span[k].T
        return x

    @property
    def covariances(self) -> Tensor:
        """(K,d,d)."""
        outside = torch.eye(self.within.shape[1], dtype=torch.float64)
        identity = torch.eye(self.means.shape[1], dtype=torch.float64)
        return identity + self._span @ (self.within - outside) @ self._span.mT

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d,d)."""
        mean = self.weights @ self.means
        apart = self.means - mean
        within = torch.einsum("k,kij->ij", self.weights, self.covariances)
        return mean, within + torch.einsum("k,ki,kj->ij", self.weights, apart, apart)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each entry, (d,) and (d,)."""
        mean = self.weights @ self.means
        more = self.within - torch.eye(self.within.shape[1], dtype=torch.float64)
        variances = 1 + torch.einsum("kir,krs,kis->ki", self._span, more, self._span)
        return mean, self.weights @ (variances + (self.means - mean).square())

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

    @property
    def _span(self) -> Tensor:
        identity = torch.eye(self.means.shape[1], dtype=torch.float64)
        return identity.expand_as(self.within) if self.basis is None else self.basis

    def _joint(self, x: Tensor) -> Tensor:
        """log w_k N(x; mu_k, C_k), (n,K), without differences (n,K,d)."""
        middle = self.weights @ self.means  # squares lose fewer digits about it
        x, means = x - middle, self.means - middle
        squares = x.square().sum(dim=1, keepdim=True) - 2 * x @ means.T + means.square().sum(dim=1)
        variances, axes = torch.linalg.eigh(self.within)
        axes = self._span @ axes
        along = (x @ axes.mT.flatten(0, 1).T).unflatten(1, variances.shape) - (means[:, None] @ axes)[:, 0]
        distances = squares + (along.square() * (1 / variances - 1)).sum(dim=2)
        log_volumes = variances.log().sum(dim=1) / 2 + len(middle) / 2 * math.log(2 * math.pi)
        return self.log_weights - log_volumes - distances / 2

    def given(self, matrix: Tensor, y: Tensor, noise_std: float) -> tuple["GaussianMixture", float]:
        """The posterior given y = A z + noise_std n, for A (dy,d) and y (dy,), and the log-evidence log p(y)."""
        rows = matrix.T.expand(len(self.means), -1, -1)
        basis = torch.linalg.qr(torch.cat([self._span, rows], dim=2)).Q  # a posterior differs from I in it alone
        identity, seen = torch.eye(basis.shape[2], dtype=torch.float64), matrix @ basis
        old = basis.mT @ self._span
        prior = identity + old @ (self.within - torch.eye(old.shape[2], dtype=torch.float64)) @ old.mT
        explained = seen @ prior @ seen.mT + noise_std**2 * torch.eye(len(y), dtype=torch.float64)  # of y, by component
        gain = torch.linalg.solve(explained, seen @ prior).mT
        log_likelihood = torch.distributions.MultivariateNormal(self.means @ matrix.T, explained).log_prob(y)
        log_evidence = torch.logsumexp(self.log_weights + log_likelihood, dim=0)
        means = self.means + (basis @ gain @ (y - self.means @ matrix.T)[..., None])[..., 0]
        kept = identity - gain @ seen
        within = kept @ prior @ kept.mT + noise_std**2 * gain @ gain.mT  # Joseph's form: symmetric
        log_weights = self.log_weights + log_likelihood - log_evidence
        return GaussianMixture(log_weights, means, within, basis), float(log_evidence)


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


KINDS = {"lattice": lattice, "scattered": scattered, "single": single}


@lru_cache(maxsize=256)
def law_of(kind: str, dx: int, seed: int, number: int) -> GaussianMixture:
    """The mixture of problem `number`. Raises UserError for an unknown kind."""
    if kind not in KINDS:
        raise UserError(f"dataset.kind={kind}: must be {' or '.join(KINDS)}")
    return KINDS[kind](dx, Noise(seed, [name_of(number)], f"mixture/{kind}/{dx}"))


def name_of(number: int) -> str:
    return f"problem-{number:04d}"


def generator_of(meaning: str) -> torch.Generator:
    """The random numbers that belong to a problem of this meaning."""
    digest = hashlib.sha256(meaning.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def mixture(kind: str, dx: int, seed: int) -> Dataset:
    """Problems as a data set: the "image" of problem-0003 is a vector (dx,1,1) drawn from the problem's own mixture,
    its label is its number. Raises UserError for a wrong argument."""
    if not isinstance(dx, int) or isinstance(dx, bool) or dx < 1:
        raise UserError(f"dataset.dx={dx}: must be a whole number of at least 1")
    law_of(kind, dx, seed, 0)  # refuses an impossible kind or dx before anything starts
    numbers = {name_of(number): number for number in range(PROBLEMS)}

    def load(problem: str) -> Tensor:
        generator = generator_of(f"{seed} {kind} {dx} {problem}")
        return _draw(law_of(kind, dx, seed, numbers[problem]), generator).reshape(dx, 1, 1).float()

    meaning = f"{kind} dx={dx} seed={seed}"
    return Dataset("mixture", list(numbers), load, hashlib.sha256(meaning.encode()).hexdigest(), numbers)


def _log_weights(noise: Noise, count: int) -> Tensor:
    """Squares of normal draws, normalised."""
    weights = noise.normal("weights", (count,))[0].double().square()
    return torch.log(weights / weights.sum())


def _spiked(log_weights: Tensor, means: Tensor, spikes: Tensor) -> GaussianMixture:
    lengths = spikes.norm(dim=1)[:, None, None]
    basis = spikes[..., None] / torch.where(lengths > 0, lengths, 1.0)
    return GaussianMixture(log_weights, means, 1 + lengths**2, basis, spikes)


def _draw(law: GaussianMixture, generator: torch.Generator) -> Tensor:
    """One draw (d,), bit for bit as problems were first drawn: by the Cholesky factor of the whole covariance."""
    (component,) = torch.multinomial(law.weights, 1, replacement=True, generator=generator).tolist()
    normal = torch.randn(law.means.shape[1], 1, dtype=torch.float64, generator=generator)
    assert law.spikes is not None
    identity = torch.eye(len(normal), dtype=torch.float64)
    root = torch.linalg.cholesky(identity + torch.outer(law.spikes[component], law.spikes[component]))
    return law.means[component] + (root @ normal)[:, 0]

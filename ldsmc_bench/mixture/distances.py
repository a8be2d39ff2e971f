"""Distances of draws from a known posterior. Each sees failures that others do not: README.md has the table.

A distance is a function of draws (n,d), float64, of the posterior and of exact draws: n of them where the two are
compared as samples, else more. Other sets of n exact draws, judged alike, show what chance alone does.
"""

import statistics
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ldsmc_bench.mixture.posterior import Posterior

DIRECTIONS = 500  # of the sliced distances
AXES = 32  # principal axes that a classifier looks at, where there are more entries
WIDTH, UPDATES, FOLDS = 32, 60, 5  # of the classifier
PERMUTATIONS = 200
SETS = 10  # of exact draws, by which chance is judged
ENTRIES = 1_000_000  # of the exact draws whose quantiles are taken, where there are more entries in n

Distance = Callable[[Tensor, Posterior, Tensor], float]


class Score(NamedTuple):
    """A distance of n draws; `floor` and `floor_sd`, mean and standard deviation of what n exact draws score."""

    value: float
    floor: float
    floor_sd: float

    @property
    def apart(self) -> float:
        """The distance from what chance gives, in its standard deviations."""
        return abs(self.value - self.floor) / max(self.floor_sd, 1e-12)


class Yardstick(NamedTuple):
    """The measure of n draws of a posterior: n `exact` draws, `many` more, and by name of a distance the mean and the
    standard deviation of what other sets of n exact draws score."""

    posterior: Posterior
    exact: Tensor
    many: Tensor
    chance: Mapping[str, tuple[float, float]]


def yardstick(posterior: Posterior, n: int, names: Collection[str] = (), sets: int = SETS) -> Yardstick:
    """The yardstick for the distances of these names, by default all. Its random numbers are always the same."""
    generator = torch.Generator().manual_seed(0)
    exact, *others = (posterior.sample(n, generator) for _ in range(1 + sets))
    many = posterior.sample(max(n, min(4 * n, ENTRIES // exact.shape[1])), generator)
    chance = {}
    for name in names or DISTANCES:
        found = [DISTANCES[name](one, posterior, many if name in CHEAP else exact) for one in others]
        chance[name] = (statistics.fmean(found), statistics.stdev(found))
    return Yardstick(posterior, exact, many, chance)


def distances(draws: Tensor, by: Yardstick) -> dict[str, Score]:
    """The distances of draws (n,d) by name, beside what chance gives."""
    x = draws.double()
    return {
        name: Score(DISTANCES[name](x, by.posterior, by.many if name in CHEAP else by.exact), *chance)
        for name, chance in by.chance.items()
    }


def sw1(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The sliced Wasserstein-1 distance: the mean over directions (Bonneel et al. 2015)."""
    return float(_sliced(draws, exact).mean())


def max_sw1(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The largest Wasserstein-1 distance among the directions."""
    return float(_sliced(draws, exact).max())


def _sliced(a: Tensor, b: Tensor) -> Tensor:
    along = directions(a.shape[1], torch.Generator().manual_seed(1))  # other numbers than those of exact draws
    return sliced(project(a, along), project(b, along))


def directions(d: int, generator: torch.Generator) -> Tensor:
    """Unit vectors (p,d)."""
    drawn = torch.randn(DIRECTIONS, d, generator=generator, dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


def project(points: Tensor, along: Tensor) -> Tensor:
    """The places (p,n) of points (n,d) along directions (p,d), sorted."""
    return torch.sort(along @ points.double().T, dim=1).values


def sliced(a: Tensor, b: Tensor) -> Tensor:
    """The Wasserstein-1 distance (p,) along each direction, between equally many sorted places (p,n)."""
    return (a - b).abs().mean(dim=1)


def c2st(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The share of draws and exact draws that a classifier tells apart, on points that it was not trained on: 0.5 where
    it cannot, 1 at worst (Lopez-Paz and Oquab 2017).

    A network with one hidden layer, in five folds; entries are standardised, and more than 32 of them are first turned
    into their first principal coordinates.
    """
    pooled = torch.cat([draws, exact])
    if pooled.shape[1] > AXES:
        pooled = pooled - pooled.mean(dim=0)
        pooled = pooled @ _principal_axes(pooled).T
    points = ((pooled - pooled.mean(dim=0)) / pooled.std(dim=0).clamp_min(1e-12)).float()
    label = torch.cat([torch.zeros(len(draws)), torch.ones(len(exact))])
    generator = torch.Generator().manual_seed(0)
    fold = torch.randperm(len(points), generator=generator) % FOLDS
    held_out = fold == torch.arange(FOLDS)[:, None]  # (folds, points)
    weight = (~held_out).float() / (~held_out).sum(dim=1, keepdim=True)
    shapes = [(FOLDS, points.shape[1], WIDTH), (FOLDS, 1, WIDTH), (FOLDS, WIDTH, 1), (FOLDS, 1, 1)]
    layers = [torch.randn(shape, generator=generator) * shape[1] ** -0.5 for shape in shapes]
    layers = [layer.requires_grad_() for layer in layers]
    optimizer = torch.optim.Adam(layers, lr=0.02)
    with torch.enable_grad():
        for _ in range(UPDATES):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                _logits(points, layers), label.expand(FOLDS, -1), weight, reduction="sum"
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    right = (_logits(points, layers).detach() > 0) == label.bool()
    return float(right[held_out].float().mean())


def _principal_axes(centred: Tensor) -> Tensor:
    """The first 32 principal axes (32,d) of centred points (n,d), n > 32."""
    if len(centred) < centred.shape[1]:  # by the products of points, which are fewer than those of entries
        _, vectors = torch.linalg.eigh(centred @ centred.T)
        return torch.nn.functional.normalize(vectors[:, -AXES:].T @ centred, dim=1)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors[:, -AXES:].T


def _logits(points: Tensor, layers: list[Tensor]) -> Tensor:
    """Of each fold's network, (folds, points)."""
    inner, bias, outer, offset = layers
    return (torch.nn.functional.silu(points @ inner + bias) @ outer + offset)[..., 0]


def mmd(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The maximum mean discrepancy with a Gaussian kernel as wide as the median distance (Gretton et al. 2012)."""
    kernel, sign = _mmd_kernel(draws, exact)
    return float((sign @ kernel @ sign).clamp_min(0).sqrt())


def mmd_p(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The p-value of `mmd` among 200 random permutations of draws and exact draws."""
    kernel, sign = _mmd_kernel(draws, exact)
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([sign[torch.randperm(len(sign), generator=generator)] for _ in range(PERMUTATIONS)])
    as_large = ((shuffled @ kernel) * shuffled).sum(dim=1) >= sign @ kernel @ sign
    return float((1 + as_large.sum()) / (1 + PERMUTATIONS))


def _mmd_kernel(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel of all pairs, and the weights whose quadratic form is the squared discrepancy."""
    pooled = torch.cat([a, b])
    apart = torch.cdist(pooled, pooled)
    kernel = torch.exp(-0.5 * (apart / apart[apart > 0].median()).square())
    return kernel, torch.cat([torch.full((len(a),), 1 / len(a)), torch.full((len(b),), -1 / len(b))]).double()


def ksd(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The squared kernel Stein discrepancy (Liu et al. 2016), without bias: with the posterior's own score and the
    kernel (1 + |x - x'|^2 / c^2)^(-1/2) (Gorham and Mackey 2017), in units of 1 / c^2.

    c^2 = d^2 / E|score|^2, over the exact draws, is the mean square distance from the middle of a mode. Scores say
    nothing of the weights of modes that lie apart, and neither does this.
    """
    score, n, d = score_of(draws, posterior), *draws.shape
    c2 = float(d**2 / score_of(exact, posterior).square().sum(dim=1).mean())
    squares = torch.cdist(draws, draws).square() / c2
    products, own = score @ draws.T, (score * draws).sum(dim=1)
    along = own[:, None] + own - products - products.T  # (score - score') . (x - x')
    base = 1 + squares
    kernel = base**-0.5 * (score @ score.T) * c2 + base**-1.5 * (along + d) - 3 * base**-2.5 * squares
    return float((kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1)))


def score_of(x: Tensor, posterior: Posterior) -> Tensor:
    """The gradient (n,d) of the posterior's log density at points (n,d)."""
    with torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(posterior.log_density(at).sum(), at)
    return gradient


def mode_tv(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The share of probability that is in the wrong component: the total variation between the mean responsibilities of
    the draws and the posterior's weights."""
    return float(0.5 * (posterior.responsibilities(draws).mean(dim=0) - posterior.weights).abs().sum())


def hpd(level: float) -> Distance:
    """The share of draws within the region of highest posterior density that has the probability `level`: above it the
    draws are too near to the modes, below it too far."""

    def covered(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
        least = posterior.log_density(exact).quantile(1 - level)
        return float((posterior.log_density(draws) >= least).double().mean())

    return covered


def marginal(level: float) -> Distance:
    """The share of draws within the central interval of the probability `level` of each entry, the mean over entries:
    above it the draws are too narrow, below it too wide or out of place."""

    def covered(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
        low, high = (exact.quantile((1 + side * level) / 2, dim=0) for side in (-1, 1))
        return float(((draws >= low) & (draws <= high)).double().mean())

    return covered


def mmse_gap(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The loss of the mean of the draws as an estimate against the posterior mean, in dB of mean square error."""
    mean, variance = posterior.mean_and_variance()
    return float(10 * torch.log10(1 + (draws.mean(dim=0) - mean).square().sum() / variance.sum()))


def spread(draws: Tensor, posterior: Posterior, exact: Tensor) -> float:
    """The total variance of the draws over the posterior's."""
    return float(draws.var(dim=0).sum() / posterior.mean_and_variance()[1].sum())


CHEAP: Mapping[str, Distance] = {
    "mode_tv": mode_tv,
    "hpd_50": hpd(0.5),
    "hpd_90": hpd(0.9),
    "marginal_50": marginal(0.5),
    "marginal_90": marginal(0.9),
    "mmse_gap": mmse_gap,
    "spread_ratio": spread,
}
DISTANCES: Mapping[str, Distance] = {
    "sw1": sw1,
    "max_sw1": max_sw1,
    "c2st": c2st,
    "mmd": mmd,
    "mmd_p": mmd_p,
    "ksd": ksd,
    **CHEAP,
}

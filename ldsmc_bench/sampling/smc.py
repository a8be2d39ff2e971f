"""Sequential Monte Carlo: immutable weights, effective sample size, resampling schemes. All batched over images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Scheme = Callable[[Tensor, Tensor], Tensor]
BELOW_ONE = 1 - 2**-53


@dataclass(frozen=True)
class Weights:
    """Normalised log-weights (B,N) of the particles of each image, and the log-mean (B,) of what they were before: of
    all factors that the particles were given, over all resamplings, which is the log-evidence. Both float64."""

    log: Tensor
    log_mean: Tensor

    @property
    def ess(self) -> Tensor:
        """Effective sample size (B,), between 1 and N."""
        return torch.exp(-torch.logsumexp(2 * self.log, dim=1))

    def times(self, log_factors: Tensor) -> "Weights":
        """The weights once each particle's is multiplied by a factor, given by its logarithm (B,N)."""
        log_weights = self.log + log_factors.double()
        total = torch.logsumexp(log_weights, dim=1)
        return Weights(log_weights - total[:, None], self.log_mean + total)


def normalised(log_weights: Tensor) -> Weights:
    """Weights (B,N) from their logarithms; -inf is a particle of weight zero."""
    images, particles = log_weights.shape
    return uniform(images, particles, log_weights.device).times(log_weights)


def uniform(images: int, particles: int, device: torch.device | str = "cpu") -> Weights:
    """Equal weights (B,N), of mean 1."""
    log = torch.full((images, particles), -math.log(particles), dtype=torch.float64, device=device)
    return Weights(log, torch.zeros(images, dtype=torch.float64, device=device))


def resampled(weights: Weights, ancestors: Callable[[Tensor], Tensor], below: float) -> tuple[Tensor, Weights, Tensor]:
    """Resample the images whose ESS is below a share of N: ancestors (B,N), the weights after, and which images (B,).

    `ancestors` maps normalised weights to ancestors; the images that are not due keep their particles and weights, and
    so does one whose weights are not finite (a run that blew up): it fails alone.
    A share of 1 resamples at every step, whatever the ESS.
    """
    images, particles = weights.log.shape
    due = weights.ess < below * particles * (1 + 1e-9)
    equal = uniform(images, particles, due.device).log
    stay = torch.arange(particles, device=due.device).expand(images, -1)
    drawn = ancestors(torch.where(finite(weights)[:, None], weights.log, equal).exp())
    chosen = torch.where(due[:, None], drawn, stay)
    return chosen, Weights(torch.where(due[:, None], equal, weights.log), weights.log_mean), due


def drawn(weights: Weights, u: Tensor) -> Tensor:
    """One particle of each image (B,1) by its weight; the first where weights are not finite. `u` (B,1) in [0,1)."""
    first = torch.zeros_like(weights.log)
    first[:, 0] = 1
    return multinomial(torch.where(finite(weights)[:, None], weights.log.exp(), first), u)


def finite(weights: Weights) -> Tensor:
    """Whether the weights of an image (B,) can be drawn from: none is NaN, and one at least is above zero."""
    return ~weights.log.isnan().any(dim=1) & torch.isfinite(weights.log).any(dim=1)


def rows_of(ancestors: Tensor, particles: int | None = None) -> Tensor:
    """Ancestors (B,n) among the `particles` (default: n) of each image as flat rows (B*n,) of images x particles."""
    images, chosen = ancestors.shape
    first = (particles or chosen) * torch.arange(images, device=ancestors.device)
    return (ancestors + first[:, None]).reshape(-1)


def distinct(ancestors: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones among the ancestors (B,n) of each image, (B,u), and where among them each one is, (B,n).

    u is that of the image with most; where there are fewer, the last is repeated. Waits for the device.
    """
    ordered, order = ancestors.sort(dim=1)
    place = torch.diff(ordered, dim=1, prepend=ordered[:, :1]).ne(0).cumsum(dim=1)
    places = torch.empty_like(place).scatter(1, order, place)
    most = int(place.max()) + 1
    last = ordered[:, -1:].repeat(1, most)
    return last.scatter(1, place, ordered), places


# Schemes map weights (B,N), up to a constant an image, and uniforms (B,N) in [0,1) to ancestors (B,N), such that
# a particle of normalised weight w has N w offspring on average. They raise ValueError for weights that are none.
# With uniforms (B,n) multinomial draws n.


def multinomial(weights: Tensor, u: Tensor) -> Tensor:
    """Independent draws."""
    return _inverse(_edges(weights), u)


def stratified(weights: Tensor, u: Tensor) -> Tensor:
    """A uniform in each of N equal strata: a particle's offspring differ from N w by less than 2."""
    return _inverse(_edges(weights), (_comb(u) + u) / u.shape[1])


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """One uniform an image (the first of `u`), shifted by 1/N: every particle has N w offspring, rounded up or down."""
    return _inverse(_edges(weights), (_comb(u) + u[:, :1]) / u.shape[1])


def residual(weights: Tensor, u: Tensor) -> Tensor:
    """Every particle has N w offspring, rounded down, for certain; the others are drawn from what that leaves."""
    edges = _edges(weights)
    expected = torch.diff(edges, dim=1, prepend=torch.zeros_like(edges[:, :1])) * u.shape[1]
    certain = torch.floor(expected + 1e-9)
    edges_of_rest = (expected - certain).clamp(min=0).cumsum(dim=1)
    edges_of_rest = edges_of_rest / edges_of_rest[:, -1:].clamp(min=1e-300)
    known = torch.searchsorted(certain.cumsum(dim=1), _comb(u).contiguous(), right=True).clamp(max=u.shape[1] - 1)
    return torch.where(_comb(u) < certain.sum(dim=1, keepdim=True), known, _inverse(edges_of_rest, u))


SCHEMES: dict[str, Scheme] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}


def _edges(weights: Tensor) -> Tensor:
    """The cumulative normalised weights; the last edge is 1. What they are is asked on the CPU alone: the answer of a
    GPU would be waited for at every step, and `resampled` lets no others through."""
    edges = weights.cumsum(dim=1)
    if weights.device.type == "cpu" and not bool(
        (weights >= 0).all() and torch.isfinite(edges).all() and (edges[:, -1] > 0).all()
    ):
        raise ValueError("weights must be numbers of at least 0, some of them above, for every image")
    return edges / edges[:, -1:]


def _comb(u: Tensor) -> Tensor:
    return torch.arange(u.shape[1], dtype=u.dtype, device=u.device).expand_as(u)


def _inverse(edges: Tensor, u: Tensor) -> Tensor:
    """The particles on whose share of [0,1) the numbers u fall; they stay below 1 whatever the rounding."""
    return torch.searchsorted(edges, u.clamp(max=BELOW_ONE).contiguous(), right=True).clamp(max=edges.shape[1] - 1)

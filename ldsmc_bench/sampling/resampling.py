"""Weights of particles and the schemes that resample them: immutable, in float64, batched over images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Scheme = Callable[[Tensor, Tensor], Tensor]
BELOW_ONE = 1 - 2**-53


@dataclass(frozen=True)
class Weights:
    """Normalised log-weights (B,N) of the particles of each image, and the log-evidence (B,): the log-mean of all
    factors so far, over all resamplings. Both float64."""

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


Selection = tuple[Tensor, Weights, Tensor]  # ancestors (B,n), the weights after, and which images were resampled (B,)


def uniform(images: int, particles: int, device: torch.device | str = "cpu") -> Weights:
    """Equal weights (B,N), of mean 1."""
    log = torch.full((images, particles), -math.log(particles), dtype=torch.float64, device=device)
    return Weights(log, torch.zeros(images, dtype=torch.float64, device=device))


def normalize(log_weights: Tensor) -> Weights:
    """Weights (B,N) from their logarithms; -inf is a particle of weight zero."""
    images, particles = log_weights.shape
    return uniform(images, particles, log_weights.device).times(log_weights)


def keep_all(weights: Weights) -> Selection:
    """Every particle its own ancestor, with the weight that it has."""
    images, particles = weights.log.shape
    ancestors = torch.arange(particles, device=weights.log.device).expand(images, -1)
    return ancestors, weights, torch.zeros(images, dtype=torch.bool, device=ancestors.device)


def keep_heaviest(weights: Weights, kept: int) -> Selection:
    """The `kept` heaviest particles of each image, at least one, with their weights."""
    log_weights, ancestors = weights.log.topk(max(1, kept), dim=1)
    lost = torch.full((len(ancestors),), kept < weights.log.shape[1], device=ancestors.device)
    return ancestors, normalize(log_weights), lost


def resample(weights: Weights, ancestors: Callable[[Tensor], Tensor], below: float) -> Selection:
    """Resample the images whose ESS is below a share of N (1: whatever the ESS).

    `ancestors` maps normalised weights to ancestors; the images that are not due keep their particles and weights, and
    so does one whose weights are not finite (a run that blew up): it fails alone.
    """
    images, particles = weights.log.shape
    due = weights.ess < below * particles * (1 + 1e-9)
    equal = uniform(images, particles, due.device).log
    drawn = ancestors(torch.where(is_finite(weights)[:, None], weights.log, equal).exp())
    chosen = torch.where(due[:, None], drawn, keep_all(weights)[0])
    return chosen, Weights(torch.where(due[:, None], equal, weights.log), weights.log_mean), due


def draw_one(weights: Weights, u: Tensor) -> Tensor:
    """One particle of each image (B,1) by its weight; the first where weights are not finite. `u` (B,1) in [0,1)."""
    first = torch.zeros_like(weights.log)
    first[:, 0] = 1
    return multinomial(torch.where(is_finite(weights)[:, None], weights.log.exp(), first), u)


def heaviest(weights: Weights, misfit: Tensor) -> Tensor:
    """The heaviest particle of each image (B,1); of equally heavy ones that of the least `misfit` (B*N,)."""
    heavy = weights.log > weights.log.max(dim=1, keepdim=True).values - 1e-9
    return torch.where(heavy, misfit.reshape(heavy.shape), torch.inf).argmin(dim=1, keepdim=True)


def is_finite(weights: Weights) -> Tensor:
    """True (B,) for images whose weights can be drawn from: none is NaN, and one at least is above zero."""
    return ~weights.log.isnan().any(dim=1) & torch.isfinite(weights.log).any(dim=1)


# Schemes map weights (B,N), up to a constant an image, and uniforms (B,N) in [0,1) to ancestors (B,N), such that
# a particle of normalised weight w has N w offspring on average. They raise ValueError for invalid weights.
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
    """Every particle has N w offspring, rounded down; the others are drawn from the remainders."""
    edges = _edges(weights)
    expected = torch.diff(edges, dim=1, prepend=torch.zeros_like(edges[:, :1])) * u.shape[1]
    certain = torch.floor(expected + 1e-9)
    edges_of_rest = (expected - certain).clamp(min=0).cumsum(dim=1)
    edges_of_rest = edges_of_rest / edges_of_rest[:, -1:].clamp(min=1e-300)
    known = torch.searchsorted(certain.cumsum(dim=1), _comb(u).contiguous(), right=True).clamp(max=u.shape[1] - 1)
    return torch.where(_comb(u) < certain.sum(dim=1, keepdim=True), known, _inverse(edges_of_rest, u))


SCHEMES: dict[str, Scheme] = {scheme.__name__: scheme for scheme in (multinomial, stratified, systematic, residual)}


def _edges(weights: Tensor) -> Tensor:
    """The cumulative normalised weights; the last edge is 1. Only checked on a CPU: on a GPU a check would wait for the
    device at every step, and `resample` passes valid weights alone."""
    edges = weights.cumsum(dim=1)
    if weights.device.type == "cpu" and not bool(
        (weights >= 0).all() and torch.isfinite(edges).all() and (edges[:, -1] > 0).all()
    ):
        raise ValueError("weights must be numbers of at least 0, some of them above, for every image")
    return edges / edges[:, -1:]


def _comb(u: Tensor) -> Tensor:
    return torch.arange(u.shape[1], dtype=u.dtype, device=u.device).expand_as(u)


def _inverse(edges: Tensor, u: Tensor) -> Tensor:
    """The particles whose shares of [0,1) contain the numbers u."""
    return torch.searchsorted(edges, u.clamp(max=BELOW_ONE).contiguous(), right=True).clamp(max=edges.shape[1] - 1)


# Ancestors (B,n) of particles are their indices among those of their image.


def flat_indices(ancestors: Tensor, particles: int | None = None) -> Tensor:
    """Ancestors (B,n) among the `particles` (default: n) of each image as flat rows (B*n,) of images x particles."""
    images, chosen = ancestors.shape
    first = (particles or chosen) * torch.arange(images, device=ancestors.device)
    return (ancestors + first[:, None]).reshape(-1)


def unique_ancestors(ancestors: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones among the ancestors (B,n) of each image, (B,u), and the place (B,n) of each among them.

    u is that of the image with most; an image with fewer repeats its last. Waits for the device, unless n is 1.
    """
    if ancestors.shape[1] == 1:
        return ancestors, torch.zeros_like(ancestors)
    ordered, order = ancestors.sort(dim=1)
    place = torch.diff(ordered, dim=1, prepend=ordered[:, :1]).ne(0).cumsum(dim=1)
    places = torch.empty_like(place).scatter(1, order, place)
    last = ordered[:, -1:].repeat(1, int(place.max()) + 1)
    return last.scatter(1, place, ordered), places

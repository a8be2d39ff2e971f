"""Sequential Monte Carlo: immutable weights, effective sample size, resampling schemes. All batched over images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Scheme = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Weights:
    """Normalised log-weights (B,N), float64: their exponentials sum to one over the particles of each image."""

    log: Tensor

    @property
    def ess(self) -> Tensor:
        """Effective sample size (B,), between 1 and N."""
        return torch.exp(-torch.logsumexp(2 * self.log, dim=1))


def normalised(log_weights: Tensor) -> Weights:
    """Weights (B,N) from log-weights known up to a constant an image; -inf is a particle of weight zero."""
    log_weights = log_weights.double()
    return Weights(log_weights - torch.logsumexp(log_weights, dim=1, keepdim=True))


def uniform(images: int, particles: int, device: torch.device | str = "cpu") -> Weights:
    """Equal weights (B,N)."""
    return normalised(torch.zeros(images, particles, dtype=torch.float64, device=device))


def resampled(weights: Weights, ancestors: Callable[[Tensor], Tensor], below: float) -> tuple[Tensor, Weights, Tensor]:
    """Resample the images whose ESS is below a share of N: ancestors (B,N), the weights after, and which images (B,).

    `ancestors` maps normalised weights to ancestors; the images that are not due keep their particles and weights.
    A share of 1 resamples at every step, whatever the ESS.
    """
    images, particles = weights.log.shape
    due = weights.ess < below * particles * (1 + 1e-9)
    stay = torch.arange(particles, device=due.device).expand(images, -1)
    chosen = torch.where(due[:, None], ancestors(weights.log.exp()), stay)
    equal = uniform(images, particles, due.device).log
    return chosen, Weights(torch.where(due[:, None], equal, weights.log)), due


def rows_of(ancestors: Tensor, particles: int | None = None) -> Tensor:
    """Ancestors (B,n) among the `particles` (default: n) of each image as flat rows (B*n,) of images x particles."""
    images, chosen = ancestors.shape
    first = (particles or chosen) * torch.arange(images, device=ancestors.device)
    return (ancestors + first[:, None]).reshape(-1)


def multinomial(weights: Tensor, u: Tensor) -> Tensor:
    """N independent draws an image: weights (B,N), uniforms (B,N) in [0,1) -> ancestors (B,N)."""
    return _inverse(weights, u)


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """One uniform an image (the first of `u` (B,N)), shifted by 1/N: every particle has N w offspring, rounded."""
    particles = weights.shape[1]
    comb = torch.arange(particles, dtype=u.dtype, device=u.device)
    return _inverse(weights, (comb + u[:, :1]) / particles)


SCHEMES: dict[str, Scheme] = {"multinomial": multinomial, "systematic": systematic}


def _inverse(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestors by inverting the cumulative weights; the last edge is 1 and u stays below it, whatever the rounding.

    Weights that are not finite (a run that blew up) make the last particle everyone's ancestor: its image fails alone.
    """
    edges = weights.cumsum(dim=1)
    edges = edges / edges[:, -1:]
    return torch.searchsorted(edges, u.clamp(max=1 - 2**-53).contiguous(), right=True).clamp(max=weights.shape[1] - 1)

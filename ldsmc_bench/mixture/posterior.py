"""The interface of a known posterior: exact draws of it, and the density that draws are judged by."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.twist import noise_variance


class Posterior(Protocol):
    """A law of vectors of d entries, float64. Its components are those of the prior. Given x, the measurement says
    nothing more about the component: `responsibilities` are p(k|x), and their mean over exact draws is `weights`."""

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Exact draws (n,d), or reference draws where nothing is in closed form."""

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each entry, (d,) and (d,)."""

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) at the points x (n,d), up to a constant; autograd gives the score."""

    def responsibilities(self, x: Tensor) -> Tensor:
        """(n,K), p(k|x) at the points x (n,d)."""

    @property
    def weights(self) -> Tensor:
        """(K,), the posterior probabilities of the components."""


class Known(NamedTuple):
    """The answer of a problem; log p(y) is None where it is not known."""

    posterior: Posterior
    log_evidence: float | None


@runtime_checkable
class KnownPrior(Protocol):
    """A prior whose posterior is known."""

    def posterior(self, measurement: Measurement, label: int) -> Known:
        """The posterior of one problem: its measurement, one row in float64 on the CPU, and its number. Raises
        Unsupported for an operator that the world has no answer for."""


def log_likelihood(measurement: Measurement, x: Tensor) -> Tensor:
    """log p(y|x) (n,) of images or vectors x (n,C,H,W), for y of one row."""
    operator = measurement.operator.select(torch.zeros(len(x), dtype=torch.long))
    noise, missed = noise_variance(measurement), measurement.y - operator(x)
    return -0.5 * (missed.square() / noise + torch.log(2 * math.pi * noise)).flatten(1).sum(dim=1)

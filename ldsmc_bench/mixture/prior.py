"""The Gaussian mixture as a prior: its noise prediction is exact at any level, and its codec is the identity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.mixture.exact import ExactPrior
from ldsmc_bench.mixture.law import law_of
from ldsmc_bench.mixture.nonlinear import Nonlinear
from ldsmc_bench.mixture.posterior import Known
from ldsmc_bench.mixture.reference import reference
from ldsmc_bench.mixture.schedule import karras
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.prior.schedule import alpha_bar_at
from ldsmc_bench.problem.linear import Linear, runs
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator


@dataclass(frozen=True, eq=False)
class MixturePrior(ExactPrior):
    """Vectors (dx,1,1) of Gaussian mixtures, one mixture for each problem; the labels of a batch number the problems.

    Log-weights (G,K), means (G,K,dx) and spikes v (G,K,dx), for covariances I + v v^T, belong to G groups of
    consecutive rows; `variances` (G,) are those of the mixtures, per coordinate.
    """

    kind: str
    dx: int
    seed: int
    digest: str
    alpha_bar: Tensor
    log_weights: Tensor
    means: Tensor
    spikes: Tensor | None  # None if all covariances are I
    variances: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.dx, 1, 1)

    @property
    def image_size(self) -> int:
        return 1

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        dtype = torch.promote_types(dtype, torch.float32)
        spikes = None if self.spikes is None else self.spikes.to(device, dtype)
        tables = {name: getattr(self, name).to(device, dtype) for name in ("log_weights", "means", "variances")}
        return replace(self, spikes=spikes, **tables)

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        """The prior of a batch of these problems: of R rows of z, R / len(labels) in a row belong to each."""
        numbers = [0] if labels is None else runs(torch.tensor(labels)).tolist()
        mine = replace(self, **tables(self.kind, self.dx, self.seed, numbers))
        return mine.to(self.means.device, self.means.dtype)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """-sqrt(1 - a) times the score of sum_k w_k N(sqrt(a) mu_k, I + a v v^T), the law of z at level a."""
        groups, a = len(self.means), alpha_bar_at(self.alpha_bar, t).to(z.dtype).reshape(len(self.means), -1, 1)
        rows = z.reshape(groups, -1, self.dx)
        along = rows @ self.means.mT
        log_w = self.log_weights[:, None] + a.sqrt() * along - 0.5 * a * self.means.square().sum(-1)[:, None]
        if self.spikes is not None:
            length = a * self.spikes.square().sum(-1)[:, None]
            reach = rows @ self.spikes.mT - a.sqrt() * (self.means * self.spikes).sum(-1)[:, None]
            log_w = log_w + 0.5 * a * reach.square() / (1 + length) - 0.5 * torch.log1p(length)
        weights = torch.softmax(log_w, dim=-1)
        score = a.sqrt() * (weights @ self.means) - rows
        if self.spikes is not None:
            score = score + (weights * a * reach / (1 + length)) @ self.spikes
        return (-(1 - a).sqrt() * score).reshape(z.shape)

    def posterior(self, measurement: Measurement, label: int) -> Known:
        """The posterior of problem `label`, in closed form or by reference draws; the measurement is one row, float64.
        Raises Unsupported for an operator of another world, UserError where there are no reference draws."""
        if isinstance(measurement.operator, Nonlinear):
            return reference(self.kind, self.dx, self.seed, label, measurement)
        if not isinstance(measurement.operator, Linear):
            raise Unsupported("dataset=mixture: the posterior is known for task=linear, phase, clip and quantise")
        matrix, noise_std = measurement.operator.grouped()[0], float(measurement.noise_std)
        return Known(*law_of(self.kind, self.dx, self.seed, label).given(matrix, measurement.y.flatten(), noise_std))

    def prediction_error_variance(self, operator: Operator, a: float) -> Tensor:
        """The covariance (G,dy,dy) of A z_0 - A z0_hat(z) at level a: r^2 A A^T, with r^2 = c (1 - a) / (c a + 1 - a)
        that of a Gaussian of the mixture's variance c. Of f(A x), the jumps add to it as often as an error of this size
        crosses one, for A x spread over more than a step. Raises UserError for an operator without a matrix."""
        if isinstance(operator, Nonlinear):
            inner = self.prediction_error_variance(operator.inner, a)
            return inner + operator.step * torch.diag_embed(inner.diagonal(dim1=1, dim2=2).sqrt())
        if not isinstance(operator, Linear):
            raise UserError("method.sample.twist=cal: a Gaussian mixture is measured by task=linear")
        matrices, c = operator.grouped().double(), self.variances.double()
        left = (c * (1 - a) / (c * a + 1 - a)).repeat_interleave(len(matrices) // len(c))
        return left[:, None, None] * matrices @ matrices.mT


def mixture(kind: str, dx: int, seed: int, steps: int, sigma_min: float, sigma_max: float | None) -> MixturePrior:
    """The mixtures that the problems are drawn from, with the schedule `karras` for `steps` steps. Its last level is by
    default 100 up to dx=8, and grows with the length of the means beyond, as sqrt(dx)."""
    sigma_max = 100.0 * max(1.0, math.sqrt(dx / 8)) if sigma_max is None else sigma_max
    made_of = {"kind": kind, "dx": dx, "seed": seed, "steps": steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
    alpha_bar = karras(steps, sigma_min, sigma_max)
    return MixturePrior(kind, dx, seed, digest_of("mixture", **made_of), alpha_bar, **tables(kind, dx, seed, [0]))


def tables(kind: str, dx: int, seed: int, numbers: Sequence[int]) -> dict[str, Any]:
    """Log-weights, means, spikes and variances of some problems, float64, by the names of the prior's fields."""
    laws = [law_of(kind, dx, seed, number) for number in numbers]
    stacked = {name: torch.stack([getattr(law, name) for law in laws]) for name in ("log_weights", "means", "spikes")}
    spikes = stacked["spikes"] if stacked["spikes"].any() else None
    return stacked | {"spikes": spikes, "variances": torch.stack([law.mean_and_variance()[1].mean() for law in laws])}

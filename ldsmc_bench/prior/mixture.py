"""The Gaussian mixture as a prior: its noise prediction is exact at any level, and its codec is the identity."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.schedule import karras
from ldsmc_bench.problem.linear import Linear, runs
from ldsmc_bench.problem.mixture import Components, components, prior_variance
from ldsmc_bench.problem.operators import Operator


@dataclass(frozen=True, eq=False)
class MixturePrior:
    """Vectors (dx,1,1) of Gaussian mixtures, another one for each problem; which, the labels of a batch say.

    Log-weights (G,K), means (G,K,dx) and spikes v (G,K,dx), for covariances I + v v^T, belong to G groups of rows that
    follow each other; `variances` (G,) are the mixtures' own, per coordinate.
    """

    kind: str
    dx: int
    seed: int
    meaning: str  # what all the numbers below are made of
    alpha_bar: Tensor
    log_weights: Tensor
    means: Tensor
    spikes: Tensor | None  # None where all covariances are I
    variances: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.dx, 1, 1)

    @property
    def image_size(self) -> int:
        return 1

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.meaning.encode()).hexdigest()

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        dtype = torch.promote_types(dtype, torch.float32)
        spikes = None if self.spikes is None else self.spikes.to(device, dtype)
        tables = {name: getattr(self, name).to(device, dtype) for name in ("log_weights", "means", "variances")}
        return replace(self, spikes=spikes, **tables)

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        """The prior of a batch of these problems: of R rows of z, R / len(labels) in a row belong to each."""
        numbers = [0] if labels is None else runs(torch.tensor(labels)).tolist()
        log_weights, means, spikes, variances = tables(self.kind, self.dx, self.seed, tuple(numbers))
        mine = replace(self, log_weights=log_weights, means=means, spikes=spikes, variances=variances)
        return mine.to(self.means.device, self.means.dtype)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """-sqrt(1 - a) times the score of sum_k w_k N(sqrt(a) mu_k, I + a v v^T), the law of z at level a; between two
        levels a is interpolated, beyond the last it is the last's."""
        groups, a = len(self.means), self.level(t).to(z.dtype).reshape(len(self.means), -1, 1)
        rows = z.reshape(groups, -1, self.dx)
        along = rows @ self.means.mT
        log_w = self.log_weights[:, None] + a.sqrt() * along - 0.5 * a * self.means.square().sum(-1)[:, None]
        spread: Tensor | float = 0.0
        if self.spikes is not None:
            length = a * self.spikes.square().sum(-1)[:, None]
            reach = rows @ self.spikes.mT - a.sqrt() * (self.means * self.spikes).sum(-1)[:, None]
            log_w = log_w + 0.5 * a * reach.square() / (1 + length) - 0.5 * torch.log1p(length)
            weights = torch.softmax(log_w, dim=-1)
            spread = (weights * a * reach / (1 + length)) @ self.spikes
        else:
            weights = torch.softmax(log_w, dim=-1)
        score = a.sqrt() * (weights @ self.means) - rows + spread
        return (-(1 - a).sqrt() * score).reshape(z.shape)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z

    def level(self, t: Tensor) -> Tensor:
        """alpha_bar (R,) at training steps t (R,), whole or not."""
        alpha_bar = self.alpha_bar.to(t.device)
        below = t.floor().long().clamp(0, len(alpha_bar) - 1)
        if not t.is_floating_point():
            return alpha_bar[below]
        above = (below + 1).clamp(max=len(alpha_bar) - 1)
        return torch.lerp(alpha_bar[below], alpha_bar[above], (t - below).double().clamp(0, 1))

    def unexplained(self, operator: Operator, a: float) -> Tensor:
        """How far A z_0 is from A z0_hat(z) at level a, as a covariance (G,dy,dy): r^2 A A^T, where r^2 is the error of
        a denoiser that knows no more of the mixture than its variance c: c (1 - a) / (c a + 1 - a).

        Raises UserError for an operator that is not given by its matrix.
        """
        if not isinstance(operator, Linear):
            raise UserError("method.sample.twist=cal: a Gaussian mixture is measured by task=linear")
        matrices, c = operator.grouped().double(), self.variances.double()
        left = (c * (1 - a) / (c * a + 1 - a)).repeat_interleave(len(matrices) // len(c))
        return left[:, None, None] * matrices @ matrices.mT


def mixture(kind: str, dx: int, seed: int, steps: int, sigma_min: float, sigma_max: float) -> MixturePrior:
    """The mixtures that the problems are drawn from, with the schedule `karras` for `steps` steps."""
    alpha_bar = karras(steps, sigma_min, sigma_max)
    log_weights, means, spikes, variances = tables(kind, dx, seed, (0,))
    meaning = f"{kind} dx={dx} seed={seed} steps={steps} sigma={sigma_min:g}..{sigma_max:g}"
    return MixturePrior(kind, dx, seed, meaning, alpha_bar, log_weights, means, spikes, variances)


def tables(kind: str, dx: int, seed: int, numbers: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Log-weights, means, spikes and variances of some problems, float64."""
    drawn, variances = zip(*(_problem(kind, dx, seed, number) for number in numbers), strict=True)
    log_weights, means, spikes = (
        torch.stack([getattr(one, name) for one in drawn]) for name in ("log_weights", "means", "spikes")
    )
    return log_weights, means, spikes if spikes.any() else None, torch.tensor(variances, dtype=torch.float64)


@lru_cache(maxsize=256)
def _problem(kind: str, dx: int, seed: int, number: int) -> tuple[Components, float]:
    drawn = components(kind, dx, seed, number)
    return drawn, prior_variance(drawn.law())

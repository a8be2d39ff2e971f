"""Guidance with weights: a Feynman-Kac model of moves that know of y, whatever guides them.

    z_K ~ N(0, I),   z_k ~ q(z_k|z_{k+1}),   psi_0(z_0) = p(y|z_0),
    w_k = w_{k+1} psi_k(z_k) p(z_k|z_{k+1}) / (psi_{k+1}(z_{k+1}) q(z_k|z_{k+1})).

Any positive psi_k leaves the law of the drawn z_0 right as N grows, that of the ancestral chain given y, and the
estimate of p(y) unbiased for every N. A sampler is a subclass with a `look` at y from z_k.
References: Wu et al., NeurIPS 2023, arXiv 2306.17775; Chopin and Papaspiliopoulos 2020, on guided filters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Self, TypeVar

import torch
from torch import Tensor

from baselines.guided import Guide
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior, PriorWrapper
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import smc
from ldsmc_bench.sampling.chain import Row, paper_chain
from ldsmc_bench.sampling.guidance import LookAhead, log_normal, look_ahead, residual
from ldsmc_bench.sampling.resampling import flat_indices
from ldsmc_bench.sampling.smc import Path
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import gaussian, noise_variance, twisted

Scheme = Literal["multinomial", "stratified", "systematic", "residual"]
PlainTwist = Literal["cal", "tds", "ratio", "noise", "paper"]  # twists that need no graph
V = TypeVar("V", bound="View")


@dataclass(frozen=True)
class View:
    """The means of the prior and of the proposal for a move from latents z_k (R,C,h,w), k > 0, and log psi_k (R,),
    float64, which may depend on the whole path to z_k."""

    mu: Tensor
    mean: Tensor
    log_psi: Tensor

    def select(self, rows: Tensor) -> Self:
        return type(self)(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(eq=False)
class At(Generic[V]):
    """Latents z_k (B*N,C,h,w), the view that they come from, log p(z_k|z_{k+1}) - log q(z_k|z_{k+1}) (B*N,), and the
    view from them."""

    z: Tensor
    past: V | None
    log_ratio: Tensor
    view: V | None = None
    x: Tensor | None = None  # D(z_0)


class GuidedModel(Generic[V]):
    """The model of a sampler on DDPM's chain of so many steps, whose last move has no noise and is the prior's."""

    def __init__(self, prior: Prior, measurement: Measurement, noise: Noise, particles: int, steps: int) -> None:
        self.prior, self.noise, self.y_0 = prior, noise, measurement.repeat(particles)
        self.images, self.particles, self.moves = len(measurement.y), particles, steps
        # rows[k] leads from z_k to z_{k-1}
        self.rows: Mapping[int, Row] = paper_chain(prior.alpha_bar, steps, eta=1.0).rows

    def look(self, k: int, now: At[V]) -> V:
        """The view from z_k, k > 0."""
        raise NotImplementedError

    def draw(self, k: int, view: V) -> tuple[Tensor, Tensor]:
        """z_k ~ N(mean, sigma^2 I), and log p(z_k|z_{k+1}) - log q(z_k|z_{k+1}) (R,)."""
        sigma = self.rows[k + 1].sigma
        if sigma == 0:
            return view.mu, torch.zeros_like(view.log_psi)
        z = view.mean + sigma * self.normal()
        return z, log_normal(z, view.mu, sigma) - log_normal(z, view.mean, sigma)

    def normal(self) -> Tensor:
        """Standard normal latents (B*N,C,h,w)."""
        drawn = self.noise.normal("proposal", (self.particles, *self.prior.shape))
        return drawn.to(self.y_0.y.dtype).reshape(-1, *self.prior.shape)

    def start(self, path: Path | None) -> At[V]:
        z = self.normal()
        return At(z, None, torch.zeros(len(z), dtype=torch.float64, device=z.device))

    def move(self, k: int, before: At[V], ancestors: Tensor) -> At[V]:
        assert before.view is not None
        past = before.view.select(flat_indices(ancestors))
        z, log_ratio = self.draw(k, past)
        return At(z, past, log_ratio)

    def log_weight(self, k: int, now: At[V]) -> Tensor | None:
        now.view = None if k == 0 else self.look(k, now)
        log_psi = self.log_likelihood(now) if now.view is None else now.view.log_psi
        log_factor = log_psi + now.log_ratio - (0.0 if now.past is None else now.past.log_psi)
        return log_factor.reshape(self.images, self.particles)

    def log_likelihood(self, now: At[V]) -> Tensor:
        """log p(y|z_0), of the noise's own variance, (R,)."""
        now.x = self.prior.decode(now.z)
        exponent, log_scale, _ = gaussian(self.y_0.y - self.y_0.operator(now.x), noise_variance(self.y_0))
        return exponent + log_scale


class GuidedDenoiser(GuidedModel[View]):
    """The model of any guided denoiser, E[z_0 | z, y], as the proposal, with a twist of its unguided prediction."""

    guide: Guide
    twist: PlainTwist

    def __init__(
        self, prior: Prior, measurement: Measurement, noise: Noise, particles: int, rows: Sequence[Row]
    ) -> None:
        super().__init__(prior, measurement, noise, particles, len(rows))
        self.rows = dict(enumerate(rows, start=1))  # the method's own chain

    def look(self, k: int, now: At[View]) -> View:
        row, heard = self.rows[k], Heard(self.prior)
        # z0_hat(y) ~ E[z_0 | z_k, y], from which the denoiser's prediction is overheard
        if row.sigma == 0:
            mu = mean = look_ahead(heard, now.z, row, gradient=False).mean
            z0_hat = heard.prediction(row)
        else:
            z0_hat_y = self.guide(heard, self.y_0, now.z, row)
            z0_hat = heard.prediction(row)
            mu, mean = row.mean(now.z, z0_hat), row.mean(now.z, z0_hat_y)
        # log psi_k = log N(y; A D(z0_hat), V)
        error = residual(self.prior, self.y_0, z0_hat)
        ahead = LookAhead(now.z, z0_hat, mu, row.sigma)
        return View(mu, mean, twisted(self.prior, self.y_0, ahead, error, row.a, self.twist, floor=None)[0])


@dataclass(frozen=True)
class Heard(PriorWrapper):
    """A prior that remembers its first noise prediction: a guided denoiser's, at the latents that it was given."""

    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # z, eps

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        eps: Tensor = self.prior.eps(z, t)
        if not self.calls:
            self.calls.append((z.detach(), eps.detach()))
        return eps

    def prediction(self, row: Row) -> Tensor:
        """z0_hat (R,C,h,w) by the remembered noise."""
        ((z, eps),) = self.calls
        return (z - (1 - row.a) ** 0.5 * eps) / row.a**0.5


def restore(model: GuidedModel[V], trace: Trace, *, resample: Scheme, resample_below: float) -> Tensor:
    """Images (B,3,H,W): of each image one particle, drawn by the last weights. Traces weights and log-evidence."""

    def report(step: smc.Step[At[V]]) -> None:
        weighed = {}
        if model.particles > 1 and step.log_weights is not None:
            weighed = {"ess": step.weights.ess, "resampled": step.resampled, "log_weights": step.log_weights}
        if model.particles > 1 and step.now.x is not None:
            trace.note(0, **smc.picture_values(step.now.x, step.weights))
        trace(step.k, z=step.now.z, **weighed)

    z_0, (log_evidence,) = smc.sample(model, model.noise, report, scheme=resample, resample_below=resample_below)
    trace.note(0, log_evidence=log_evidence)
    return model.prior.decode(z_0)

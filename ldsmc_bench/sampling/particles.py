"""Particles in a latent space: the arguments, the state and the hot path of the Feynman-Kac models of LD-SMC."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import CHAINS
from ldsmc_bench.sampling.guidance import ALL, Gain, LookAhead, Rows, log_normal, look_ahead, residual
from ldsmc_bench.sampling.resampling import flat_indices, unique_ancestors
from ldsmc_bench.sampling.twist import Twist, gaussian, noise_variance, twisted


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The arguments of a particle sampler in latent space; conf/method and conf/variant say where each comes from."""

    particles: Count
    steps: Count
    eta: Fraction  # of DDIM: 0 is deterministic, 1 ancestral sampling
    kappa1: NonNegative  # guidance by y_0 (`guided_mean`)
    latent_fit_iterations: Natural  # of a fit of the chosen z_0 to y_0 at the end
    latent_fit_lr: Positive = fits.LR
    chain: Literal["paper", "released"]  # the levels of the moves (`CHAINS`)
    temperature: Literal["sum", "mean"] | Positive  # log-densities are divided by 1, their dimensions, or a number
    final_variance: Literal["noise", "schedule"]  # of p(y_0|z_0): the noise's, or 1 - alpha_bar of the first level
    prior_mean: Literal["before", "after"]  # of p(z_k|z_{k+1}): that z_k was drawn around, or of the move from z_k
    resample: Literal["multinomial", "stratified", "systematic", "residual"]
    resample_below: Fraction  # the share of N under which the ESS triggers resampling (1: at every step)
    resample_first: bool  # before the first move too
    last_move: Literal["prior", "guided"]  # whether a last move without noise is guided
    choose: Literal["draw", "argmax"]  # z_0 by its weight, or the heaviest


@dataclass(frozen=True, kw_only=True)
class ExactChoices(Choices):
    """Further choices, the paper's by default: other twists and guidance, and iterated, parallel or estimating SMC."""

    gibbs_iterations: Count = 1  # sweeps
    twist: Twist = "paper"  # the variance of pbar(y_0|z_k) (`twisted`)
    floor: Literal["size"] | Positive | None = None  # the least exponent of pbar(y_0|z_k); size: 10 d_y + 500
    gain: Gain = "paper"  # "rms": kappas are root mean squares over a latent's entries, so that its size plays no part;
    # "drift" and "sigma2" guide by the twist's gradient instead (`twisted_mean`),
    clip: Positive | None = None  # and move by so many sigmas at most
    defensive: Fraction = 0.0  # the share of moves that are not guided
    conditional: bool = False  # sweeps after the first have the path they start from among their particles
    islands: Count = 1  # independent sets of N particles in sequence, one of which is chosen by its evidence
    evidence: bool = False  # log the estimate of log p(y_0) of each island


@dataclass(frozen=True)
class View:
    """A look ahead from latents z_k, k > 0: shared by their weights and the guidance of their next move."""

    ahead: LookAhead
    error: Tensor  # y_0 - A(D(z0_hat)), joined to z_k by its graph
    weighted_error: Tensor  # times V^-1, of pbar(y_0|z_k)
    log_psi: Tensor  # log pbar(y_0|z_k) (B,N)


@dataclass(eq=False)
class Particles:
    """Particles z_k (B*N,C,h,w), the move that led to them, and the results computed from them."""

    z: Tensor
    mean: Tensor  # of the proposal q(z_k|z_{k+1}), of standard deviation sigma
    mu: Tensor  # of p(z_k|z_{k+1})
    sigma: float
    log_psi_before: Tensor | None  # log pbar(y_0|z_{k+1}) (B,N)
    view: View | None = None  # used up by the next move
    x: Tensor | None = None  # D(z_0)


class LatentModel:
    """A base for models of latent particles: the problem, the chain, the noise, looking ahead, and densities."""

    def __init__(self, prior: Prior, measurement: Measurement, noise: Noise, choices: ExactChoices) -> None:
        self.prior, self.measurement, self.noise, self.choices = prior, measurement, noise, choices
        self.images, self.particles, self.moves = len(measurement.y), choices.particles, choices.steps
        self.chain = CHAINS[choices.chain](prior.alpha_bar, choices.steps, choices.eta)
        self.y_0 = measurement.repeat(choices.particles)
        self.unit = math.prod(prior.shape) ** 0.5 if choices.gain == "rms" else 1.0  # of kappas
        self.floor = 10 * (measurement.y[0].numel() + 50) if isinstance(choices.floor, str) else choices.floor

    def draw(self, name: str, *shape: int) -> Tensor:
        """Standard normal latents (B*prod(shape),C,h,w)."""
        drawn = self.noise.normal(name, (*shape, *self.prior.shape)).to(self.measurement.y.dtype)
        return drawn.reshape(-1, *self.prior.shape)

    def look(self, k: int, at: Particles) -> View:
        """The view from z_k."""
        if at.view is None:
            ahead, error = self.compare(k, at.z, self.y_0)
            a, twist = self.chain.rows[k].a, self.choices.twist
            log_psi, weighted_error = twisted(self.prior, self.y_0, ahead, error, a, twist, self.floor)
            at.view = View(ahead, error, weighted_error, self.temper(log_psi, error[0].numel()))
        return at.view

    def compare(self, k: int, z: Tensor, y_0: Measurement) -> tuple[LookAhead, Tensor]:
        ahead = look_ahead(self.prior, z, self.chain.rows[k])
        return ahead, residual(self.prior, y_0, ahead.z0_hat)

    def look_on(self, k: int, before: Particles, ancestors: Tensor) -> tuple[Tensor, float, Tensor]:
        """mu_k, sigma_k and log pbar(y_0|z_{k+1}) of each ancestor."""
        view = self.look(k + 1, before)
        return view.ahead.mean[flat_indices(ancestors)], view.ahead.sigma, view.log_psi.gather(1, ancestors)

    def guide(self, k: int, before: Particles, ancestors: Tensor) -> Tensor:
        """m_k of each ancestor, computed once for each particle that has offspring."""
        alive, places = unique_ancestors(ancestors)
        survivors, place = flat_indices(alive, self.particles), flat_indices(places, alive.shape[1])
        view, before.view = self.look(k + 1, before), None
        rows: Rows = survivors
        if 2 * alive.shape[1] <= self.particles:
            # Few particles survived resampling: another forward pass for these is cheaper than back-propagating
            # through all N. The graph of all goes first.
            rows, psi = ALL, (view.weighted_error[survivors], view.log_psi)
            del view
            view = View(*self.compare(k + 1, before.z[survivors], self.y_0.select(survivors)), *psi)
        return self.proposal_mean(k, view, survivors, rows)[place]

    def proposal_mean(self, k: int, view: View, survivors: Tensor, rows: Rows) -> Tensor:
        """m_k from the `rows` of a view, which belong to the particles `survivors` (flat indices)."""
        raise NotImplementedError

    # The log-densities (B,N), float64, that weights are made of: the paper's, or with the public code's choices.

    def temper(self, log_density: Tensor, dimensions: int) -> Tensor:
        """Log-densities (B*N,) over so many dimensions, divided by the temperature."""
        named = {"sum": 1.0, "mean": float(dimensions)}
        temperature = self.choices.temperature
        divisor = named[temperature] if isinstance(temperature, str) else temperature
        return (log_density / divisor).reshape(-1, self.particles)

    def log_likelihood(self, error: Tensor, variance: Tensor) -> Tensor:
        exponent, log_scale, _ = gaussian(error.detach(), variance)
        return self.temper(exponent + log_scale, error[0].numel())

    def log_label(self, k: int, error: Tensor) -> Tensor:
        """log p(y_k|z_k), of variance 1 - alpha_bar_k, for the error y_k - A(D(z_k))."""
        a = self.chain.rows.get(k, self.chain.rows[1]).a
        return self.log_likelihood(error, torch.full((1,), 1 - a, dtype=torch.float64, device=error.device))

    def log_final(self, error: Tensor) -> Tensor:
        """log p(y_0|z_0), for the error y_0 - A(D(z_0))."""
        if self.choices.final_variance == "noise":
            return self.log_likelihood(error, noise_variance(self.y_0))
        return self.log_label(0, error)

    def log_transition(self, now: Particles, mean: Tensor, sigma: float) -> Tensor:
        return self.temper(log_normal(now.z, mean, sigma), now.z[0].numel())

    def log_prior(self, k: int, now: Particles) -> Tensor:
        """log p(z_k|z_{k+1})."""
        if self.choices.prior_mean == "before":
            return self.log_transition(now, now.mu, now.sigma)
        first = self.chain.rows[0] if k == 0 else None  # the public code looks ahead from z_0 too
        ahead = look_ahead(self.prior, now.z, first, gradient=False) if first else self.look(k, now).ahead
        return self.log_transition(now, ahead.mean, ahead.sigma or now.sigma)

    def log_proposal(self, now: Particles) -> Tensor:
        """log q(z_k|z_{k+1}), of a mixture with the unguided move."""
        guided, share = self.log_transition(now, now.mean, now.sigma), self.choices.defensive
        if share == 0:
            return guided
        free = self.log_transition(now, now.mu, now.sigma)
        return torch.logaddexp(guided + math.log1p(-share), free + math.log(share))

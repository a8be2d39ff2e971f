"""PFLD (Nazemi et al., arXiv 2408.13868): a particle filter whose particles move by PSLD's steps.

No code is public and its text could not be had: this is what its abstract and LD-SMC's account of it (sec. 3, App. A)
say, with our choices for the rest, which baselines/README.md lists. A particle's weight is multiplied at each step by a
Cauchy density of the distance that PSLD's step computes anyway, so weighing costs no network call.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from baselines.psld import Chain, Glue, levels, lift, moved, norms
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.path import unmoved
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: Count,
    steps: Count,
    eta: Fraction,
    omega: NonNegative,
    gamma: NonNegative,
    chain: Chain,
    glue: Glue,
    prediction_noise: bool,
    latent_fit_iterations: Natural,
    latent_fit_lr: Positive,
    cauchy: Positive,
    weigh_until: Fraction,
    every: Fraction,
    resample: Literal["multinomial", "systematic"],
    resample_below: Fraction,
    prune: Fraction,
    collapse: bool,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` to `latent_fit_lr` are PSLD's. `cauchy` is the scale of the likelihood. Particles are weighed for the
    first `weigh_until` of the steps; between two selections lie `every` of them (0: there is one at every step). A
    selection drops the lightest `prune` of the particles or, where that is 0, resamples an image whose ESS is below
    `resample_below` of its particles. `collapse` leaves the heaviest alone at the last step that weighs.
    Resampled particles part again only by the chain's noise, so it takes `eta` > 0. Raises Unsupported as PSLD does.
    """
    put_in_place = lift(measurement, prior.image_size, glue, method="pfld")
    images, device = len(measurement.y), measurement.y.device
    rows = levels(prior, steps, eta, chain)
    weighed, period = round(weigh_until * len(rows)), max(1, round(every * len(rows)))

    def draw(name: str, particles: int, *shape: int) -> Tensor:
        return noise.normal(name, (particles, *shape)).to(measurement.y).flatten(0, 1)

    def selected(weights: smc.Weights, step: int) -> tuple[Tensor, smc.Weights, Tensor]:
        """Who lives on (B,n), with which weights, and which images were selected from (B,)."""
        alive = weights.log.shape[1]
        if collapse and step == weighed:
            return heaviest(weights, 1)
        if step % period > 0:
            return smc.resampled(weights, lambda _: unmoved(images, alive, device), below=0.0)
        if prune > 0:
            return heaviest(weights, math.ceil(alive * (1 - prune)))
        return smc.resampled(weights, lambda w: noise.ancestors(w, smc.SCHEMES[resample]), resample_below)

    # z_T^(j) ~ N(0, I), w^(j) = 1/N
    z, weights = draw("init", particles, *prior.shape), smc.uniform(images, particles, device)
    y = measurement.select(torch.arange(images, device=device).repeat_interleave(particles))
    for step, row in enumerate(reversed(rows), start=1):
        alive = weights.log.shape[1]
        error = y.noise_std * draw("prediction", alive, *y.y.shape[1:]) if prediction_noise else None
        move = moved(prior, y, z, row, put_in_place, omega=omega, gamma=gamma, error=error)
        mean = move.mean
        diagnostics: dict[str, Tensor] = {}
        if alive > 1 and step <= weighed:
            # w^(j) <- w^(j) / (1 + (||y - A(D(z0_hat^(j)))|| / kappa)^2)
            likelihood = -torch.log1p((move.misfit.double() / cauchy).square())
            weights = smc.normalised(weights.log + likelihood.reshape(images, alive))
            diagnostics = {"ess": weights.ess, "log_weights": weights.log}
            ancestors, weights, diagnostics["resampled"] = selected(weights, step)
            survivors = smc.rows_of(ancestors, alive)
            mean, y = mean[survivors], y.select(survivors)
        # z^(j) = PSLD's step, with noise of its own
        z = mean + row.sigma * draw("proposal", weights.log.shape[1], *prior.shape)
        trace(len(rows) - step, z=z, **diagnostics)

    # the heaviest; among the equally heavy the one that fits best
    if weights.log.shape[1] > 1:
        x = prior.decode(z)
        trace.note(0, spread=x.reshape(images, -1, *x.shape[1:]).std(dim=1, correction=0))
        fit = norms(y.y - y.operator(x)).reshape(images, -1)
        heavy = weights.log > weights.log.max(dim=1, keepdim=True).values - 1e-9
        best = torch.where(heavy, fit, torch.inf).argmin(dim=1, keepdim=True)
        chosen = smc.rows_of(best, fit.shape[1])
        if latent_fit_iterations == 0:
            return x[chosen]
        z = z[chosen]
    z = fits.latent_fit(prior, measurement, z, latent_fit_iterations, lr=latent_fit_lr)
    return prior.decode(z)


def heaviest(weights: smc.Weights, kept: int) -> tuple[Tensor, smc.Weights, Tensor]:
    """The `kept` heaviest particles of each image: their indices (B,kept), their weights, and that all images lost some
    (B,)."""
    log_weights, ancestors = weights.log.topk(max(1, kept), dim=1)
    lost = torch.full((len(ancestors),), kept < weights.log.shape[1], device=ancestors.device)
    return ancestors, smc.normalised(log_weights), lost

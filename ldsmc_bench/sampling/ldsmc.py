"""LD-SMC (Achituve et al., ICML 2025, arXiv 2502.05908): sequential Monte Carlo in a diffusion model's latent space.

The lines follow Algorithm 1 and the sequential importance sampling with resampling (SISR) of Eq. 4-7. Where the public
code computes something else than the paper, the difference is a named choice of `sample`; `conf/method/ldsmc.yaml`
gathers the choices in variants and says why each one is there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import CHAINS, Chain
from ldsmc_bench.sampling.guidance import LookAhead, guided_mean, log_normal, look_ahead, residual, squared
from ldsmc_bench.sampling.path import Path, unmoved
from ldsmc_bench.sampling.trace import Trace

FITS = {"least_squares": fits.least_squares, "adamw": fits.pixel_fit}
Temperature = Literal["sum", "mean"] | Positive


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
    kappa1: NonNegative,
    kappa2: NonNegative,
    rho: Fraction,
    s: Fraction | None,
    gibbs_iterations: Count,
    latent_fit_iterations: Natural,
    chain: Literal["paper", "released"],
    pixel_fit: Literal["least_squares", "adamw"],
    label_noise: bool,
    temperature: Temperature,
    final_variance: Literal["noise", "schedule"],
    prior_mean: Literal["before", "after"],
    resample: Literal["multinomial", "systematic"],
    resample_below: Fraction,
    resample_first: bool,
    switch_inclusive: bool,
    last_move: Literal["prior", "guided"],
    choose: Literal["draw", "argmax"],
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `s` is the switch as a fraction of the steps: below it, labels guide too (`kappa2`, `rho`); above it only y_0 does
    (`kappa1`); None leaves labels out altogether, of the weights too, which is the twisted diffusion sampler.
    `temperature` divides log-densities: "sum" by 1, "mean" by their number of dimensions, or a number.
    `pixel_fit` is how labels start: where A is not linear, "adamw" in any case. `resample_below` is the share of N
    under which the ESS triggers resampling (1: at every step).
    """
    images, device, dtype = len(measurement.y), measurement.y.device, measurement.y.dtype
    moves = CHAINS[chain](prior.alpha_bar, steps, eta)
    labelled = s is not None
    switch = 0 if s is None else round(s * moves.moves) + int(switch_inclusive)  # labels guide the moves k < switch
    weighted = particles > 1
    y_0 = measurement.select(
        torch.arange(images, device=device).repeat_interleave(particles)
    )  # a row for each particle

    def draw(name: str, *shape: int) -> Tensor:
        return noise.normal(name, (*shape, *prior.shape)).to(device, dtype).reshape(-1, *prior.shape)

    def tempered(log_density: Tensor, dimensions: int) -> Tensor:
        divisor = {"sum": 1.0, "mean": float(dimensions)}[temperature] if isinstance(temperature, str) else temperature
        return (log_density / divisor).reshape(images, particles)

    def log_likelihood(error: Tensor, variance: float) -> Tensor:
        return tempered(-0.5 * squared(error.detach().double()) / variance, error[0].numel())

    def log_transition(z: Tensor, mean: Tensor, sigma: float) -> Tensor:
        return tempered(log_normal(z, mean, sigma), z[0].numel())

    def label(latents: dict[int, Tensor], k: int) -> Measurement:
        """y_k for every particle: y_0 is the measurement, the others are decoded only when they are read."""
        if k == 0:
            return y_0
        y_k = measurement.operator(prior.decode(latents[k]))
        if label_noise:
            y_k = y_k + measurement.noise_std * noise.normal("labels", y_k.shape[1:]).to(y_k)
        return replace(y_0, y=y_k.repeat_interleave(particles, dim=0))

    def sisr(latents: dict[int, Tensor], path: Path | None) -> tuple[Tensor, Tensor]:
        """One sweep of SISR given y_{0:T}: all z_0 (B*N,C,h,w), and which of these rows was chosen (B,)."""
        # z_T ~ N(0, I); w_T = p(y_T|z_T) pbar(y_0|z_T)                                                (Eq. 6, t = T)
        z, row = draw("proposal", particles), moves.rows[moves.moves]
        ahead = look_ahead(prior, z, row)
        error = compared(ahead)
        weights, stay = smc.uniform(images, particles, device), unmoved(images, particles, device)
        if path is not None:
            path.moved(moves.moves, z, stay)
        if weighted:
            log_y0 = log_likelihood(error, 1 - row.a)
            log_w = log_y0
            if labelled:
                log_w = log_w + log_likelihood(residual(prior, label(latents, moves.moves), z), 1 - row.a)
            weights = smc.normalised(log_w)

        for k in reversed(range(moves.moves)):
            # m_k = mu - gamma_k grad log pbar(y_0|z_{k+1}) - lambda_k grad log q(y_k|z_{k+1})         (Eq. 7, App. D)
            y_k = label(latents, k) if labelled and (weighted or k < switch) else y_0
            mean, mu, sigma = ahead.mean, ahead.mean, ahead.sigma
            if k > 0 or sigma > 0 or last_move == "guided":
                mean = guided_mean(
                    prior, ahead, error, y_k if k < switch else None, kappa2 if k < switch else kappa1, rho
                )

            # resample, and carry along everything that the next weight divides by
            ancestors, due = stay, torch.zeros(images, dtype=torch.bool, device=device)
            if weighted and (resample_first or k < moves.moves - 1):
                ancestors, weights, due = smc.resampled(weights, draw_ancestors, resample_below)
                rows = smc.rows_of(ancestors)
                mean, mu, log_y0 = mean[rows], mu[rows], log_y0.gather(1, ancestors)

            # z_k ~ N(m_k, sigma^2 I)
            z = mean + sigma * draw("proposal", particles)
            if path is not None:
                path.moved(k, z, ancestors)
            if k in moves.rows and (k > 0 or weighted):
                ahead = look_ahead(prior, z, moves.rows[k], gradient=k > 0)
                error = compared(ahead) if k > 0 else error
            if not weighted:
                trace(k, z=z, mean=mean)
                continue

            # w_k = w_{k+1} p(y_k|z_k) pbar(y_0|z_k) p(z_k|z_{k+1}) / (pbar(y_0|z_{k+1}) pi(z_k|z_{k+1}))  (Eq. 6)
            noisy = 1 - (moves.rows[k] if k in moves.rows else moves.rows[1]).a
            variance = max(measurement.noise_std**2, 1e-8) if k == 0 and final_variance == "noise" else noisy
            log_w = weights.log - log_y0
            if labelled or k == 0:
                log_w = log_w + log_likelihood(residual(prior, y_k, z), variance)
            if k > 0:
                log_y0 = log_likelihood(error, noisy)
                log_w = log_w + log_y0
            if sigma > 0:
                towards, width = (mu, sigma) if prior_mean == "before" else (ahead.mean, ahead.sigma or sigma)
                log_w = log_w + log_transition(z, towards, width) - log_transition(z, mean, sigma)
            weights = smc.normalised(log_w)
            trace(k, z=z, mean=mean, ess=weights.ess, resampled=due, log_weights=log_w)

        # one z_0 ~ Multi(w_0)
        one = weights.log.argmax(dim=1, keepdim=True)
        if choose == "draw":
            one = smc.multinomial(weights.log.exp(), noise.uniform("choice", (1,)).to(device))
        return z, smc.rows_of(one, particles)

    def compared(ahead: LookAhead) -> Tensor:
        """y_0 - A(D(z0_hat)) with its graph: decoded once, for the weights now and the guidance of the next move."""
        with torch.enable_grad():
            return residual(prior, y_0, ahead.z0_hat)

    def draw_ancestors(weights: Tensor) -> Tensor:
        return noise.ancestors(weights, smc.SCHEMES[resample])

    latents: dict[int, Tensor] = {}
    if labelled:
        # (1) x_0 fits y_0, started at the decode of a random latent; z_0 = E(x_0)                             (Eq. 3)
        fit = FITS[pixel_fit if measurement.operator.linear else "adamw"]
        x_0 = fit(measurement, prior.decode(draw("init")))
        # (2) z_{1:T} | z_0                                                                                    (Eq. 2)
        latents = label_latents(moves, prior.encode(x_0), lambda: draw("auxiliary"))
    # (3) Gibbs sweeps: y_{1:T} | z_{1:T}, then z_{0:T} | y_{0:T}
    for sweep in reversed(range(gibbs_iterations)):
        path = Path() if sweep > 0 else None
        z, chosen = sisr(latents, path)
        latents = latents | path.of(chosen) if path else latents
    z_0 = z[chosen]
    # (4) final latent optimisation, where the task wants it                                                   (App. A)
    if latent_fit_iterations > 0:
        z_0 = fits.latent_fit(prior, measurement, z_0, latent_fit_iterations)
    return prior.decode(z_0)


def label_latents(moves: Chain, z_0: Tensor, draw: Callable[[], Tensor]) -> dict[int, Tensor]:
    """z_K..z_1 given z_0, one path an image (Eq. 2): the latents whose decodes are the labels y_K..y_1."""
    latents = {moves.moves: draw()}
    for k in reversed(range(1, moves.moves)):
        row = moves.label_rows[k]
        eps = (latents[k + 1] - row.a**0.5 * z_0) / (1 - row.a) ** 0.5
        mean = row.a_prev**0.5 * z_0 + max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 * eps
        latents[k] = mean + row.sigma * draw()
    return latents

"""LD-SMC (Achituve et al., ICML 2025, arXiv 2502.05908): sequential Monte Carlo in a diffusion model's latent space.

The lines follow Algorithm 1 and the sequential importance sampling with resampling (SISR) of Eq. 4-7. Where the public
code computes something else than the paper, the difference is a named choice of `sample`; `conf/method/ldsmc.yaml`
gathers the choices in variants and says why each one is there. So are the choices that make the particles' weights
exact: the law of the chosen z_0 then tends to p(z_0|y_0) of the chain of `steps` steps as N grows, and the estimate of
log p(y_0) is that of an unbiased one of p(y_0) for every N.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import CHAINS, Chain
from ldsmc_bench.sampling.guidance import Gain, LookAhead, guided_mean, log_normal, look_ahead, residual, twisted_mean
from ldsmc_bench.sampling.path import Path, unmoved
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import Twist, Twisted, gaussian, noise_variance, twisted

FITS = {"least_squares": fits.least_squares, "adamw": fits.pixel_fit}
Temperature = Literal["sum", "mean"] | Positive
Latents = Iterable[Tensor]  # z_K..z_1 of one path an image, in the order that labels are read in
TOGETHER = 4  # rows that fill a decoder: of fewer images, labels are decoded several at once


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
    resample: Literal["multinomial", "stratified", "systematic", "residual"],
    resample_below: Fraction,
    resample_first: bool,
    switch_inclusive: bool,
    last_move: Literal["prior", "guided"],
    choose: Literal["draw", "argmax"],
    latent_fit_lr: Positive = fits.LR,
    twist: Twist = "paper",
    floor: Literal["size"] | Positive | None = None,
    gain: Gain = "paper",
    clip: Positive | None = None,
    defensive: Fraction = 0.0,
    labels_in_target: bool = True,
    conditional: bool = False,
    islands: Count = 1,
    evidence: bool = False,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `s` is the switch as a fraction of the steps: below it, labels guide too (`kappa2`, `rho`); above it only y_0 does
    (`kappa1`); None leaves labels out altogether, of the weights too, which is the twisted diffusion sampler.
    `temperature` divides log-densities: "sum" by 1, "mean" by their number of dimensions, or a number.
    `pixel_fit` is how labels start: where A is not linear, "adamw" in any case. `resample_below` is the share of N
    under which the ESS triggers resampling (1: at every step).

    What has a default is the paper's unless it is given. `latent_fit_lr`: the step size of the final fit. `twist`,
    `floor`: the uncertainty of pbar(y_0|z_k) and its least exponent (`twisted`; "size": 10 d_y + 500). `gain`, `clip`:
    the guidance in place of Eq. 7's, without labels (`twisted_mean`). A share `defensive` of the moves is not guided.
    With `labels_in_target` false labels guide, but do not weigh.
    `conditional` sweeps after the first have the path they start from among their particles. `islands` of N particles
    run one after the other, each with a z_0 that stands for it by its evidence. `evidence` lets out the estimate of
    log p(y_0), a number for each island. Raises UserError for labels with another gain than the paper's.
    """
    if s is not None and gain != "paper":
        raise UserError(f"method.sample.gain={gain}: labels guide by the paper's; give method.sample.s=null with it")
    images, device, dtype = len(measurement.y), measurement.y.device, measurement.y.dtype
    moves = CHAINS[chain](prior.alpha_bar, steps, eta)
    switch = 0 if s is None else round(s * moves.moves) + int(switch_inclusive)  # labels guide the moves k < switch
    weighted = particles > 1 or evidence
    labels_weigh = weighted and s is not None and labels_in_target
    least = 10 * (measurement.y[0].numel() + 50) if isinstance(floor, str) else floor
    y_0 = measurement.select(
        torch.arange(images, device=device).repeat_interleave(particles)
    )  # a row for each particle

    def draw(name: str, *shape: int) -> Tensor:
        return noise.normal(name, (*shape, *prior.shape)).to(dtype).reshape(-1, *prior.shape)

    def compared(y_0: Measurement, ahead: LookAhead) -> Tensor:
        """y_0 - A(D(z0_hat)) with its graph: decoded once, for the weights now and the guidance of the next move."""
        with torch.enable_grad():
            return residual(prior, y_0, ahead.z0_hat)

    def read_labels(latents: Latents) -> Iterator[Measurement]:
        """y_k for every particle, from the first k that anything reads down to 1, decoded when they are read."""
        first = moves.moves if labels_weigh else min(switch, moves.moves) - 1
        wanted = islice(latents, moves.moves - first, None)
        while some := list(islice(wanted, max(1, TOGETHER // images))):
            rows = torch.arange(images, device=device).repeat(len(some))
            for y_k in measurement.operator.select(rows)(prior.decode(torch.cat(some))).split(images):
                if label_noise:
                    y_k = y_k + measurement.noise_std * noise.normal("labels", y_k.shape[1:]).to(y_k)
                yield replace(y_0, y=y_k.repeat_interleave(particles, dim=0))

    def tempered(log_density: Tensor, dimensions: int) -> Tensor:
        divisor = {"sum": 1.0, "mean": float(dimensions)}[temperature] if isinstance(temperature, str) else temperature
        return (log_density / divisor).reshape(images, particles)

    def log_likelihood(error: Tensor, variance: Tensor) -> Tensor:
        exponent, log_scale, _ = gaussian(error.detach(), variance)
        return tempered(exponent + log_scale, error[0].numel())

    def log_twist(psi: Twisted) -> Tensor:
        return tempered(psi.log, y_0.y[0].numel())

    def log_transition(z: Tensor, mean: Tensor, sigma: float) -> Tensor:
        return tempered(log_normal(z, mean, sigma), z[0].numel())

    def log_proposal(z: Tensor, mean: Tensor, mu: Tensor, sigma: float) -> Tensor:
        guided = log_transition(z, mean, sigma)
        if defensive == 0:
            return guided
        free = log_transition(z, mu, sigma)
        return torch.logaddexp(guided + math.log1p(-defensive), free + math.log(defensive))

    def sisr(
        latents: Latents, retained: Mapping[int, Tensor] | None, path: Path | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One sweep of SISR given y_{0:T}: all z_0 (B*N,C,h,w), which of these rows was chosen (B,), and log p(y_0).

        Where a path is `retained`, it is every image's first particle, and lives on.
        """

        def held(z: Tensor, k: int) -> Tensor:
            if retained is None:
                return z
            others = z.reshape(images, particles, *prior.shape)[:, 1:]
            return torch.cat([retained[k][:, None], others], dim=1).reshape(z.shape)

        def draw_ancestors(weights: Tensor) -> Tensor:
            if retained is None:
                return noise.ancestors(weights, smc.SCHEMES[resample])
            others = noise.ancestors(weights, smc.multinomial)[:, 1:]
            return torch.cat([torch.zeros_like(others[:, :1]), others], dim=1)

        # z_T ~ N(0, I); w_T = p(y_T|z_T) pbar(y_0|z_T)                                                (Eq. 6, t = T)
        z, labels = held(draw("proposal", particles), moves.moves), read_labels(latents)
        row = moves.rows[moves.moves]
        ahead = look_ahead(prior, z, row)
        error = compared(y_0, ahead)
        psi = twisted(prior, y_0, ahead, error, row.a, twist, least)
        weights, stay = smc.uniform(images, particles, device), unmoved(images, particles, device)
        if path is not None:
            path.moved(moves.moves, z, stay)
        if weighted:
            log_y0 = log_twist(psi)
            weights = weights.times(log_y0)
            if labels_weigh:
                apart = residual(prior, next(labels), z)
                weights = weights.times(log_likelihood(apart, variance_at(1 - row.a)))

        for k in reversed(range(moves.moves)):
            # resample, and carry along everything that the next weight divides by
            ancestors, due = stay, torch.zeros(images, dtype=torch.bool, device=device)
            if weighted and (resample_first or k < moves.moves - 1):
                ancestors, weights, due = smc.resampled(weights, draw_ancestors, resample_below)
                log_y0 = log_y0.gather(1, ancestors)
            rows = smc.rows_of(ancestors)

            # m_k = mu - gamma_k grad log pbar(y_0|z_{k+1}) - lambda_k grad log q(y_k|z_{k+1})         (Eq. 7, App. D)
            y_k = next(labels) if k > 0 and (k < switch or labels_weigh) else y_0
            mu, sigma = ahead.mean[rows], ahead.sigma
            mean = mu
            if k > 0 or sigma > 0 or last_move == "guided":
                label, kappa = (y_k, kappa2) if k < switch else (None, kappa1)
                pull, place = psi.pull, rows
                alive, places = smc.distinct(ancestors) if weighted else (stay, stay)
                if 2 * alive.shape[1] <= particles:
                    # few live on: looking ahead from them again costs less than the gradients of those that do not
                    survivors, place = smc.rows_of(alive, particles), smc.rows_of(places, alive.shape[1])
                    del ahead, error  # their graphs, before another is made
                    ahead = look_ahead(prior, z[survivors], moves.rows[k + 1])
                    error = compared(y_0.select(survivors), ahead)
                    pull, label = pull[survivors], label and label.select(survivors)
                if gain == "paper":
                    mean = guided_mean(prior, ahead, error, label, kappa, rho)[place]
                else:
                    mean = twisted_mean(ahead, error, pull, moves.rows[k + 1], gain, clip)[place]

            # z_k ~ N(m_k, sigma^2 I)
            centre = mean
            if defensive > 0 and sigma > 0:
                free = noise.uniform("defensive", (particles,)).reshape(-1, 1, 1, 1) < defensive
                centre = torch.where(free, mu, mean)
            z = held(centre + sigma * draw("proposal", particles), k)
            if path is not None:
                path.moved(k, z, ancestors)
            if k in moves.rows and (k > 0 or weighted):
                ahead = look_ahead(prior, z, moves.rows[k], gradient=k > 0)
            if k > 0:
                error = compared(y_0, ahead)
                psi = twisted(prior, y_0, ahead, error, moves.rows[k].a, twist, least)
            if not weighted:
                trace(k, z=z, mean=mean)
                continue

            # w_k = w_{k+1} p(y_k|z_k) pbar(y_0|z_k) p(z_k|z_{k+1}) / (pbar(y_0|z_{k+1}) pi(z_k|z_{k+1}))  (Eq. 6)
            factor = -log_y0
            if k == 0 or labels_weigh:
                noisy = variance_at(1 - (moves.rows[k] if k in moves.rows else moves.rows[1]).a)
                variance = noise_variance(y_0) if k == 0 and final_variance == "noise" else noisy
                x = prior.decode(z)
                factor = factor + log_likelihood(y_k.y - y_k.operator(x), variance)
                if k == 0 and particles > 1:
                    trace.note(0, spread=x.reshape(images, particles, *x.shape[1:]).std(dim=1, correction=0))
            if k > 0:
                log_y0 = log_twist(psi)
                factor = factor + log_y0
            if sigma > 0:
                towards, width = (mu, sigma) if prior_mean == "before" else (ahead.mean, ahead.sigma or sigma)
                factor = factor + log_transition(z, towards, width) - log_proposal(z, mean, mu, sigma)
            log_weights = weights.log + factor
            weights = weights.times(factor)
            trace(k, z=z, mean=mean, ess=weights.ess, resampled=due, log_weights=log_weights)

        # one z_0 ~ Multi(w_0)
        one = weights.log.argmax(dim=1, keepdim=True)
        if choose == "draw":
            one = smc.drawn(weights, noise.uniform("choice", (1,)))
        return z, smc.rows_of(one, particles), weights.log_mean

    def variance_at(level: float) -> Tensor:
        return torch.full((1,), level, dtype=torch.float64, device=device)

    def island(latents: Latents) -> tuple[Tensor, Tensor]:
        """Its z_0 (B,C,h,w) and its estimate of log p(y_0) (B,), which is the first sweep's."""
        # (3) Gibbs sweeps: y_{1:T} | z_{1:T}, then z_{0:T} | y_{0:T}
        retained, estimates = None, []
        for sweep in reversed(range(gibbs_iterations)):
            path = Path() if sweep > 0 else None
            z, chosen, log_evidence = sisr(latents, retained, path)
            estimates.append(log_evidence)
            if path is not None:
                found = path.of(chosen)
                latents, retained = [found[k] for k in range(moves.moves, 0, -1)], found if conditional else None
        return z[chosen], estimates[0]

    latents: Latents = ()
    if s is not None:
        # (1) x_0 fits y_0, started at the decode of a random latent; z_0 = E(x_0)                             (Eq. 3)
        fit = FITS[pixel_fit if measurement.operator.linear else "adamw"]
        x_0 = fit(measurement, prior.decode(draw("init")))
        # (2) z_{1:T} | z_0                                                                                    (Eq. 2)
        start = prior.encode(x_0)
        trace.note(0, start=start)
        latents = label_latents(moves, start, lambda: draw("auxiliary"))
        latents = latents if islands == 1 else list(latents)  # which every island reads
    z_0, log_total = island(latents)
    log_evidences = [log_total]
    for _ in range(islands - 1):
        another, log_evidence = island(latents)
        log_total = torch.logaddexp(log_total, log_evidence)
        taken = noise.uniform("island", ()) < torch.exp(log_evidence - log_total)
        z_0 = torch.where(taken.reshape(-1, 1, 1, 1), another, z_0)
        log_evidences.append(log_evidence)
    if evidence:
        for number, log_evidence in enumerate(log_evidences):
            trace.note(number, log_evidence=log_evidence)
    # (4) final latent optimisation, where the task wants it                                                   (App. A)
    z_0 = fits.latent_fit(prior, measurement, z_0, latent_fit_iterations, lr=latent_fit_lr)
    return prior.decode(z_0)


def label_latents(moves: Chain, z_0: Tensor, draw: Callable[[], Tensor]) -> Iterator[Tensor]:
    """z_K..z_1 given z_0, one path an image (Eq. 2): the latents whose decodes are the labels y_K..y_1, each made when
    it is asked for, so that none is kept."""
    z = draw()
    yield z
    for k in reversed(range(1, moves.moves)):
        row = moves.label_rows[k]
        eps = (z - row.a**0.5 * z_0) / (1 - row.a) ** 0.5
        mean = row.a_prev**0.5 * z_0 + max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 * eps
        z = mean + row.sigma * draw()
        yield z

"""LD-SMC's released variant with its work done in the order of the public code, as a measure of what is saved.

From the public code (IdanAchituve/LD-SMC, bb7ab73): one image at a time; every label decoded, one by one, and kept;
D(z_k) and D(z0_hat) decoded for the weights, and D(z0_hat) again, with its graph, for the guidance; guidance particle
by particle; the UNet's parameters not frozen; a buffer of all trajectories, cloned and gathered at every resampling;
norms of gradients waited for. Kinder than the public code in two ways: attention is not checkpointed, and the fit of
pixels keeps no iterates. Nothing here is shared with `sampling.ldsmc` but the fit, the table of steps and the drawing
of ancestors, so that the same images from both mean the same work.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.chain import Row, released_chain
from ldsmc_bench.sampling.trace import Trace

FITS = {"least_squares": fits.least_squares, "adamw": fits.pixel_fit}
ALIKE = {  # the choices of variant=released that this computes, and no other
    "gibbs_iterations": 1,
    "latent_fit_iterations": 0,
    "chain": "released",
    "label_noise": False,
    "temperature": "mean",
    "final_variance": "schedule",
    "prior_mean": "after",
    "resample": "multinomial",
    "resample_below": 1,
    "resample_first": False,
    "switch_inclusive": True,
    "last_move": "guided",
    "choose": "argmax",
}


def thawed(prior: Prior) -> Prior:
    """The prior with a UNet of its own whose parameters ask for gradients, as the public code leaves them."""
    unet = getattr(prior, "unet", None)
    if unet is None:
        return prior
    return dataclasses.replace(prior, unet=copy.deepcopy(unet).requires_grad_(True))  # type: ignore[type-var]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    particles: int,
    steps: int,
    eta: float,
    kappa1: float,
    kappa2: float,
    rho: float,
    s: float,
    pixel_fit: str,
    **choices: Any,
) -> Tensor:
    """Restore the image of `measurement`: (1,3,H,W), about [-1,1]. The arguments, and the names of what is drawn, are
    those of `sampling.ldsmc.sample`; before the first label and after each the trace ticks as well. Raises UserError
    for a choice that is not the released variant's, ValueError for several images."""
    _expect_released(choices)
    if len(measurement.y) != 1:
        raise ValueError("the public code restores one image at a time")
    y, operator = measurement.y, measurement.operator
    moves = released_chain(prior.alpha_bar, steps, eta)
    switch = round(s * steps) + 1

    def draw(name: str, rows: int = 1) -> Tensor:
        return noise.normal(name, (rows, *prior.shape)).to(y).reshape(rows, *prior.shape)

    def compared(target: Tensor, z: Tensor) -> Tensor:
        return target - operator(prior.decode(z))

    def likelihood(target: Tensor, z: Tensor, row: Row) -> Tensor:
        """(N,), float64, a mean and no sum."""
        return -0.5 * compared(target, z).double().square().flatten(1).mean(dim=1) / (1 - row.a)

    def moments(z: Tensor, row: Row) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Each particle by itself, as its graph is differentiated: leaves, and z0_hat with its graph; and the means."""
        leaves = [z[j : j + 1].detach().requires_grad_(True) for j in range(particles)]
        hats, means = [], []
        for leaf in leaves:
            with torch.enable_grad():
                eps = prior.eps(leaf, torch.full((1,), row.t, device=z.device))
                hats.append((leaf - (1 - row.a) ** 0.5 * eps) / row.a**0.5)
            kept = max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5
            means.append((row.a_prev**0.5 * hats[-1] + kept * eps).detach())
        return leaves, hats, torch.cat(means)

    def clipped(target: Tensor, z: Tensor, leaf: Tensor) -> Tensor:
        """The gradient of ||target - A(D(z))||^2 at `leaf`, of norm 1 at most."""
        with torch.enable_grad():
            misfit = compared(target, z).square().sum()
        (gradient,) = torch.autograd.grad(misfit, leaf)
        norm = float(gradient.norm())  # the public code logs it, and so waits for it
        return gradient / max(norm, 1.0)

    # labels: all of them, one by one
    start = prior.encode(FITS[pixel_fit if operator.linear else "adamw"](measurement, prior.decode(draw("init"))))
    u = draw("auxiliary")
    trace.tick()
    labels = {steps: operator(prior.decode(u))}
    trace.tick()
    for k in reversed(range(1, steps)):
        row = moves.label_rows[k]
        direction = (u - row.a**0.5 * start) / (1 - row.a) ** 0.5
        u = row.a_prev**0.5 * start + max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 * direction
        u = u + row.sigma * draw("auxiliary")
        labels[k] = operator(prior.decode(u))
        trace.tick()
    labels[0] = y

    # the first particles and their weights, which are computed for a single particle too
    trajectories = torch.zeros(steps + 1, particles, *prior.shape, dtype=y.dtype, device=y.device)
    row = moves.rows[steps]
    z = trajectories[steps] = draw("proposal", particles)
    leaves, hats, means = moments(z, row)
    ahead = likelihood(y, torch.cat(hats).detach(), row)
    log_weights = likelihood(labels[steps], z, row) + ahead

    for k in reversed(range(steps)):
        mean, sigma = [], row.sigma
        for j in range(particles):
            shift = clipped(y, hats[j], leaves[j])
            if k < switch:
                leaf = means[j : j + 1].clone().requires_grad_(True)
                shift = (1 - rho) * shift + rho * clipped(labels[k], leaf, leaf)
            mean.append(means[j : j + 1] - (kappa2 if k < switch else kappa1) * shift)
        proposed = torch.cat(mean)
        if particles > 1:
            carried = log_weights - torch.logsumexp(log_weights, dim=0)
            if k + 1 < steps:
                chosen = noise.ancestors(carried.exp()[None], smc.multinomial)[0]
                former = trajectories.clone()
                for j in range(particles):
                    trajectories[:, j] = former[:, chosen[j]]
                proposed, ahead = proposed[chosen], ahead[chosen]
                carried = torch.full_like(carried, -math.log(particles))
        z = trajectories[k] = proposed + sigma * draw("proposal", particles)
        row = moves.rows[k]
        leaves, hats, means = moments(z, row)
        if particles == 1:
            trace(k, z=z, mean=proposed)
            continue
        before, ahead_before = _log_normal(z, proposed, sigma), ahead
        ahead = likelihood(y, torch.cat(hats).detach(), row) if k > 0 else torch.zeros_like(ahead)
        log_weights = carried + likelihood(labels[k], z, row) + ahead
        log_weights = log_weights + _log_normal(z, means, row.sigma or sigma) - ahead_before - before
        trace(k, z=z, mean=proposed, log_weights=log_weights[None])

    best = int(log_weights.argmax()) if particles > 1 else 0
    return prior.decode(trajectories[0, best : best + 1])


def _log_normal(z: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """(N,), float64, a mean and no sum."""
    return -0.5 * (z - mean).double().square().flatten(1).mean(dim=1) / sigma**2


def _expect_released(choices: Mapping[str, Any]) -> None:
    for key, value in ALIKE.items():
        if choices.get(key, value) != value:
            raise UserError(
                f"method.sample.{key}={choices[key]}: the public order is that of variant=released, where it is {value}"
            )

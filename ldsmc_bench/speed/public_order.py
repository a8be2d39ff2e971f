"""LD-SMC's released variant with its work done in the order of the public code, as a measure of the savings here.

From the public code (IdanAchituve/LD-SMC, bb7ab73): one image at a time, all its particles in one call of each network,
T + 1 of the UNet, which keeps its graph and is not frozen; every label decoded, one by one, and kept; D(z_k) and
D(z0_hat) decoded for the weights, and D(z0_hat) again, with its graph, for the guidance of all particles, also of those
that resampling is about to drop: one gradient of the summed misfits, clipped particle by particle; a buffer of all
trajectories, cloned and gathered at every resampling; norms of means and shifts waited for, since they are logged.
Faster than the public code in two ways: attention is not checkpointed, and the fit of pixels keeps no iterates. With
`thaw` it is so in two more: the networks keep the memory layout and the quantiser of this project; `as_published` takes
both away. Shared with `sampling.ldsmc` are only bricks: the fit, the table of steps, the look ahead, clipping and the
drawing of ancestors. So the same images from both mean the same work.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.codec import VqCodec
from ldsmc_bench.prior.compiled import networks_of
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import resampling
from ldsmc_bench.sampling.arguments import takes
from ldsmc_bench.sampling.chain import Row, released_chain
from ldsmc_bench.sampling.guidance import look_ahead, unit_clipped
from ldsmc_bench.sampling.ldsmc import FITS, Choices
from ldsmc_bench.sampling.trace import Trace

RELEASED = {  # the choices of variant=released that this computes, and no other
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


def thaw(prior: Prior) -> Prior:
    """The prior with a copy of its UNet whose parameters require gradients, as the public code leaves them."""
    if (unet := getattr(prior, "unet", None)) is None:
        return prior
    return dataclasses.replace(prior, unet=copy.deepcopy(unet).requires_grad_(True))  # type: ignore[type-var]


def as_published(prior: Prior) -> Prior:
    """`thaw`, with all networks in PyTorch's default memory layout, and a VQ codec that quantises as CompVis'."""
    copied = thaw(copy.deepcopy(prior))
    for network in networks_of(copied):
        network.to(memory_format=torch.contiguous_format)
    if not isinstance(codec := getattr(copied, "codec", None), VqCodec):
        return copied
    whole = WholeDistances(codec.network, codec.codebook, codec.scale)
    return dataclasses.replace(copied, codec=whole)  # type: ignore[type-var]


class WholeDistances(VqCodec):
    """Quantises by the matrix of distances between all vectors and all codes."""

    def decode(self, z: Tensor) -> Tensor:
        z = (z / self.scale).permute(0, 2, 3, 1)
        vectors, codes = z.detach().reshape(-1, z.shape[-1]), self.codebook
        distances = vectors.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1) - 2 * vectors @ codes.T
        nearest = codes[distances.argmin(dim=1)].reshape(z.shape)
        quantised = (z + (nearest - z).detach()).permute(0, 3, 1, 2).contiguous()
        return self.network.decoder(self.network.post_quant_conv(quantised))


@dataclasses.dataclass(frozen=True)
class _Order:
    """The pieces of the computation, for one image."""

    prior: Prior
    measurement: Measurement
    noise: Noise

    def draw(self, name: str, rows: int = 1) -> Tensor:
        return self.noise.normal(name, (rows, *self.prior.shape)).to(self.measurement.y).reshape(-1, *self.prior.shape)

    def measure(self, z: Tensor) -> Tensor:
        return self.measurement.operator(self.prior.decode(z))

    def log_likelihood(self, label: Tensor, z: Tensor, row: Row) -> Tensor:
        """(N,), float64, a mean over pixels."""
        return -0.5 * (label - self.measure(z)).double().square().flatten(1).mean(dim=1) / (1 - row.a)

    def clipped_gradient(self, label: Tensor, z: Tensor, leaves: Tensor) -> Tensor:
        """The gradients of ||label - A(D(z))||^2 at `leaves`, each of norm 1 at most."""
        with torch.enable_grad():
            misfits = (label - self.measure(z)).square().sum()
        return unit_clipped(torch.autograd.grad(misfits, leaves)[0])

    def labels(self, start: Tensor, rows: Mapping[int, Row], steps: int, trace: Trace) -> dict[int, Tensor]:
        """The labels y_0..y_T, all of them, one by one."""
        u = self.draw("auxiliary")
        trace.tick()
        labels = {0: self.measurement.y, steps: self.measure(u)}
        trace.tick()
        for k in reversed(range(1, steps)):
            u = rows[k].mean(u, start) + rows[k].sigma * self.draw("auxiliary")
            labels[k] = self.measure(u)
            trace.tick()
        return labels


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the image of `measurement`: (1,3,H,W), about [-1,1]. Arguments and names of draws are those of
    `sampling.ldsmc.sample`; the trace also ticks before the first label and after each. Raises UserError for a choice
    that is not the released variant's, ValueError for several images."""
    for key, value in RELEASED.items():
        if (chosen := getattr(choices, key)) != value:
            raise UserError(
                f"method.sample.{key}={chosen}: the public order is that of variant=released, where it is {value}"
            )
    if choices.s is None:
        raise UserError("method.sample.s=null: the public order has labels; give a share of the steps")
    if len(measurement.y) != 1:
        raise ValueError("the public code restores one image at a time")
    steps, particles, rho, y = choices.steps, choices.particles, choices.rho, measurement.y
    order, moves = _Order(prior, measurement, noise), released_chain(prior.alpha_bar, steps, choices.eta)
    fit = FITS[choices.pixel_fit if measurement.operator.linear else "adamw"]
    start = prior.encode(fit(measurement, prior.decode(order.draw("init"))))
    labels = order.labels(start, moves.label_rows, steps, trace)

    # The first particles and their weights, which are computed for a single particle too.
    trajectories = torch.zeros(steps + 1, particles, *prior.shape, dtype=y.dtype, device=y.device)
    row = moves.rows[steps]
    z = trajectories[steps] = order.draw("proposal", particles)
    seen = look_ahead(prior, z, row)
    ahead = order.log_likelihood(y, seen.z0_hat.detach(), row)
    log_weights = order.log_likelihood(labels[steps], z, row) + ahead

    for k in reversed(range(steps)):
        # Guidance by y_0 and, below the switch, by the label.
        shift, kappa = order.clipped_gradient(y, seen.z0_hat, seen.z), choices.kappa1
        if k <= round(choices.s * steps):
            inner = seen.mean.clone().requires_grad_(True)
            shift, kappa = (1 - rho) * shift + rho * order.clipped_gradient(labels[k], inner, inner), choices.kappa2
        proposed, sigma = seen.mean - kappa * shift, seen.sigma
        float(seen.mean.norm()), float(shift.norm())  # the public code logs them, and so waits for them

        # Resampling gathers whole trajectories.
        if particles > 1:
            carried = log_weights - torch.logsumexp(log_weights, dim=0)
            if k + 1 < steps:
                chosen = noise.ancestors(carried.exp()[None], resampling.multinomial)[0]
                former = trajectories.clone()
                for j in range(particles):
                    trajectories[:, j] = former[:, chosen[j]]
                proposed, ahead = proposed[chosen], ahead[chosen]
                carried = torch.full_like(carried, -math.log(particles))

        # The move, and its weights.
        z = trajectories[k] = proposed + sigma * order.draw("proposal", particles)
        row = moves.rows[k]
        seen = look_ahead(prior, z, row)
        if particles == 1:
            trace(k, z=z, mean=proposed)
            continue
        before, ahead_before = _log_normal(z, proposed, sigma), ahead
        ahead = order.log_likelihood(y, seen.z0_hat.detach(), row) if k > 0 else torch.zeros_like(ahead)
        log_weights = carried + order.log_likelihood(labels[k], z, row) + ahead
        log_weights = log_weights + _log_normal(z, seen.mean, row.sigma or sigma) - ahead_before - before
        trace(k, z=z, mean=proposed, log_weights=log_weights[None])

    best = int(log_weights.argmax()) if particles > 1 else 0
    return prior.decode(trajectories[0, best : best + 1])


def _log_normal(z: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """(N,), float64, a mean over the latent's entries."""
    return -0.5 * (z - mean).double().square().flatten(1).mean(dim=1) / sigma**2

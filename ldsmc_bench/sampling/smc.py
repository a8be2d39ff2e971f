"""Sequential Monte Carlo: one loop over a Feynman-Kac model.

A model says how particles start, move and are weighed; weights, effective sample size, resampling, ancestors, evidence,
islands and conditional SMC belong to the loop. Everything is batched over images.
References: Chopin and Papaspiliopoulos, An Introduction to Sequential Monte Carlo, 2020, chapters 9, 10 and 16.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.sampling.resampling import (
    SCHEMES,
    Selection,
    Weights,
    draw_one,
    flat_indices,
    keep_all,
    multinomial,
    resample,
    uniform,
)

Path = Mapping[int, Tensor]  # z_k (B,C,h,w) for k = K..0, one path an image
History = dict[int, tuple[Tensor, Tensor]]  # z_k (B*N,C,h,w) for k = K..0, and the rows of z_{k+1} that they came from
Select = Callable[[Weights, int], Selection]  # before move k


class Particles(Protocol):
    """Latents z (B*N,C,h,w) after a move, and whatever else the model carries."""

    z: Tensor


P = TypeVar("P", bound=Particles)


class Model(Protocol[P]):
    """A Feynman-Kac model: N particles for each of B images, in `moves` moves k = K-1..0 from z_K to z_0."""

    images: int
    particles: int
    moves: int

    def start(self, path: Path | None) -> P:
        """Draw z_K; `path` is that of the sweep before, None in the first."""

    def move(self, k: int, before: P, ancestors: Tensor) -> P:
        """Draw z_k from the particles z_{k+1} with the indices `ancestors` (B,n)."""

    def log_weight(self, k: int, now: P) -> Tensor | None:
        """The logarithm (B,n) of the weights' factor G_k; None leaves them as they are."""


@dataclass(frozen=True)
class Step(Generic[P]):
    """Move k, as the loop reports it."""

    k: int
    now: P
    before: Weights | None  # which particles were selected by; None if nothing weighed since the last selection
    resampled: Tensor  # images (B,)
    weights: Weights  # after the move
    log_weights: Tensor | None  # the same (B,N), not normalised; None if the move does not weigh


def run(
    model: Model[P],
    select: Select = lambda weights, k: keep_all(weights),
    path: Path | None = None,
    *,
    retain: bool = False,
    history: History | None = None,
) -> Iterator[Step[P]]:
    """Run the particles of `model` down to z_0, and yield each move.

    `path` is given to the model; with `retain` it is also every image's first particle, whatever the model draws
    (conditional SMC: `select` has to let that particle live). `history` receives the latents of all moves.
    """
    # z_K ~ q_K
    now = model.start(path)
    weights, before = uniform(model.images, model.particles, now.z.device), None
    ancestors, _, resampled = keep_all(weights)
    for k in reversed(range(model.moves + 1)):
        if k < model.moves:
            # a_k ~ Resample(w_{k+1}), z_k ~ q_k(z_k | z_{k+1}^{a_k})
            ancestors, weights, resampled = keep_all(weights) if before is None else select(before, k)
            now = model.move(k, now, ancestors)
        if retain and path is not None:
            others = now.z.unflatten(0, (model.images, -1))[:, 1:]
            now.z = torch.cat([path[k][:, None], others], dim=1).flatten(0, 1)
        if history is not None:
            history[k] = now.z, flat_indices(ancestors)
        # w_k = w_{k+1} G_k(z_{k+1}^{a_k}, z_k)
        log_factor, log_weights = model.log_weight(k, now), None
        if log_factor is not None:
            log_weights, weights = weights.log + log_factor, weights.times(log_factor)
        if k < model.moves:
            yield Step(k, now, before, resampled, weights, log_weights)
        before = None if log_factor is None else weights


def sample(
    model: Model[P],
    noise: Noise,
    report: Callable[[Step[P]], None],
    *,
    scheme: str,
    resample_below: float,
    resample_first: bool = True,
    choose: Literal["draw", "argmax"] = "draw",
    sweeps: int = 1,
    conditional: bool = False,
    islands: int = 1,
) -> tuple[Tensor, list[Tensor]]:
    """Run `islands` independent sets of N particles in sequence: one z_0 (B,C,h,w) for each image, from one of the
    sets with probability proportional to its evidence, and log-evidences (B,) of all sets.

    A set's z_0 is drawn by the weights, or is the heaviest particle (`choose`). Of several `sweeps` each is given the
    path of z_0 in the one before, and retains it if `conditional`; the evidence is that of the first.
    """
    first = model.moves - 1 if resample_first else model.moves - 2

    def one_island() -> tuple[Tensor, Tensor]:
        path, evidence = None, []
        for sweep in range(sweeps):
            history: History | None = {} if sweep + 1 < sweeps else None
            retain = conditional and sweep > 0
            select = adaptive(noise, scheme, resample_below, first=first, retain=retain)
            for step in run(model, select, path, retain=retain, history=history):
                report(step)
            one = step.weights.log.argmax(dim=1, keepdim=True)
            if choose == "draw":
                one = draw_one(step.weights, noise.uniform("choice", (1,)))
            chosen = flat_indices(one, model.particles)
            path = None if history is None else trace_back(history, chosen)
            evidence.append(step.weights.log_mean)
        return step.now.z[chosen], evidence[0]

    z_0, log_total = one_island()
    log_evidences = [log_total]
    for _ in range(islands - 1):
        another, log_evidence = one_island()
        log_total = torch.logaddexp(log_total, log_evidence)
        taken = noise.uniform("island", ()) < torch.exp(log_evidence - log_total)
        z_0 = torch.where(taken.reshape(-1, 1, 1, 1), another, z_0)
        log_evidences.append(log_evidence)
    return z_0, log_evidences


def adaptive(noise: Noise, scheme: str, below: float, *, first: int, retain: bool = False) -> Select:
    """Resample from move `first` on, where the ESS is below a share of N; with `retain`, by multinomial draws, the
    first particle living on."""

    def draw(weights: Tensor) -> Tensor:
        if not retain:
            return noise.ancestors(weights, SCHEMES[scheme])
        others = noise.ancestors(weights, multinomial)[:, 1:]
        return torch.cat([torch.zeros_like(others[:, :1]), others], dim=1)

    return lambda weights, k: resample(weights, draw, below) if k <= first else keep_all(weights)


def trace_back(history: History, chosen: Tensor) -> Path:
    """The paths that led to the `chosen` rows (B,) of z_0."""
    path = {}
    for k in sorted(history):
        z, rows = history[k]
        path[k], chosen = z[chosen], rows[chosen]
    return path


def picture_values(x: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Values to trace of the particles' images x (B*N,3,H,W): `particles`, the images (B,N,3,H,W), with the logarithms
    (B,N) of their weights, and `spread`, their standard deviation (B,3,H,W)."""
    particles = x.unflatten(0, (len(weights.log), -1))
    spread = particles.std(dim=1, correction=0)
    return {"spread": spread, "particles": particles, "particles_log_weights": weights.log}

"""PFLD (Nazemi et al., arXiv 2408.13868): a particle filter whose particles move by PSLD's steps.

No code is public and its text could not be had: this follows its abstract and LD-SMC's account of it (sec. 3, App. A),
with our choices for the rest, which baselines/README.md lists.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from baselines import psld
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import smc
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive, takes
from ldsmc_bench.sampling.resampling import Selection, Weights, flat_indices, heaviest, keep_all, keep_heaviest
from ldsmc_bench.sampling.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Choices(psld.Choices):
    """The arguments of PFLD: those of PSLD, and of the filter."""

    particles: Count
    cauchy: Positive  # the scale of the likelihood
    weigh_until: Fraction  # the first share of the steps, in which particles are weighed
    every: Fraction  # the share of the steps between two selections; 0: one at every step
    resample: Literal["multinomial", "systematic"]
    resample_below: Fraction  # a selection resamples if the ESS is below this share of the particles,
    prune: Fraction  # or, if this is not 0, drops this share of them, the lightest
    collapse: bool  # leave the heaviest alone at the last step that weighs


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1]. Resampled particles part again only by the chain's
    noise, so it takes `eta` > 0. Raises Unsupported as PSLD does."""
    model = Filter(prior, measurement, noise, choices, choices.particles)
    for step in smc.run(model, model.select):
        by, values = step.before, {"z": step.now.z}
        trace(step.k, **values | ({"ess": by.ess, "log_weights": by.log, "resampled": step.resampled} if by else {}))
    if (alive := step.weights.log.shape[1]) == 1:
        return model.finish(step.now.z)
    # the heaviest; among the equally heavy the one that fits best
    x, y = prior.decode(step.now.z), measurement.repeat(alive)
    trace.note(0, **smc.picture_values(x, step.weights))
    chosen = flat_indices(heaviest(step.weights, psld.norms(y.y - y.operator(x))), alive)
    return x[chosen] if choices.latent_fit_iterations == 0 else model.finish(step.now.z[chosen])


class Filter(psld.Chain):
    """PSLD's chain with weights: a Cauchy density of the distance that its step computes anyway, so at no call."""

    choices: Choices
    name = "pfld"

    def log_weight(self, k: int, now: psld.Particles) -> Tensor | None:
        alive, weighed = len(now.z) // self.images, round(self.choices.weigh_until * self.moves)
        if now.guided is None or alive == 1 or self.moves - k >= weighed:
            return None
        # w^(j) <- w^(j) / (1 + (||y - A(D(z0_hat^(j)))|| / kappa)^2)
        distance = now.guided.distances[0].double().reshape(-1, alive)
        return -torch.log1p((distance / self.choices.cauchy).square())

    def select(self, weights: Weights, k: int) -> Selection:
        """The particles that live on: those of PFLD's resampling, or the heaviest."""
        choices, step = self.choices, self.moves - k
        if choices.collapse and step == round(choices.weigh_until * self.moves):
            return keep_heaviest(weights, 1)
        if step % max(1, round(choices.every * self.moves)) > 0:
            return keep_all(weights)
        if choices.prune > 0:
            return keep_heaviest(weights, ceil(weights.log.shape[1] * (1 - choices.prune)))
        return smc.adaptive(self.noise, choices.resample, choices.resample_below, first=k)(weights, k)

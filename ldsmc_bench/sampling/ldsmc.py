"""LD-SMC: sequential Monte Carlo in the latent space of a diffusion model, with labels y_1..y_T made from y_0.

The lines follow Algorithm 1 and the sequential importance sampling with resampling (SISR) of Eq. 4-7. The public code
computes something else in places; its choices are arguments (`LatentModel`, `CHAINS`, `FITS`): conf/variant/ldsmc.
References: Achituve et al., ICML 2025, arXiv 2502.05908; code: IdanAchituve/LD-SMC.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits, twisted
from ldsmc_bench.sampling.arguments import Fraction, NonNegative, takes
from ldsmc_bench.sampling.chain import Chain
from ldsmc_bench.sampling.guidance import Rows, guided_mean, residual
from ldsmc_bench.sampling.particles import ExactChoices, Particles, View
from ldsmc_bench.sampling.smc import Path
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twisted import TwistedModel

FITS = dict.fromkeys(("least_squares", "pinv", "first_pass"), fits.least_squares) | {"adamw": fits.pixel_fit}
TOGETHER = 4  # rows that fill a decoder: of fewer images, labels are decoded several at once


@dataclass(frozen=True, kw_only=True)
class Choices(ExactChoices):
    """The arguments of LD-SMC: those of a particle sampler, and of its labels."""

    s: Fraction | None  # labels guide below this share of the steps; None: no labels, the twisted diffusion sampler
    kappa2: NonNegative  # guidance by labels and y_0, of which labels have the share rho (`guided_mean`)
    rho: Fraction
    pixel_fit: Literal["least_squares", "adamw", "pinv", "first_pass"]  # how labels start (`opening`, `FITS`)
    label_noise: bool  # y_k has noise of the measurement's level
    switch_inclusive: bool  # labels guide at the step of the switch too
    labels_in_target: bool = True  # otherwise labels guide, but do not weigh


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    Raises UserError for labels with another gain than the paper's.
    """
    if choices.s is None:
        return twisted.sample(prior, measurement, noise, trace, choices)
    if choices.gain not in ("paper", "rms"):
        raise UserError(
            f"method.sample.gain={choices.gain}: labels guide by the paper's; give method.sample.s=null with it"
        )
    model = LabelledModel(prior, measurement, noise, choices, choices.s)
    # (1) x_0 fits y_0, started at the decode of a random latent; z_0 = E(x_0)                                 (Eq. 3)
    fit = FITS[choices.pixel_fit if measurement.operator.linear else "adamw"]
    x_0 = fit(measurement, opening(model))
    z_0 = prior.encode(x_0)
    trace.note(0, start=z_0)
    # (2) z_{1:T} | z_0                                                                                        (Eq. 2)
    latents = label_latents(model.chain, z_0, lambda: model.draw("auxiliary"))
    model.latents = latents if choices.islands == 1 else list(latents)  # every island reads them
    # (3) Gibbs sweeps of SISR: z_{0:T} | y_{0:T}, then y_{1:T} | z_{1:T}; (4) final latent optimisation
    return twisted.restore(model, trace)


class LabelledModel(TwistedModel):
    """Feynman-Kac model with the target p(z_{0:T}) p(y_0|z_0) prod_k p(y_k|z_k), twisted by pbar(y_0|z_k): SISR."""

    choices: Choices
    latents: Iterable[Tensor]  # z_T..z_1 of one path an image, whose decodes are the labels of the first sweep

    def __init__(self, prior: Prior, measurement: Measurement, noise: Noise, choices: Choices, s: float) -> None:
        super().__init__(prior, measurement, noise, choices)
        self.switch = round(s * self.moves) + int(choices.switch_inclusive)  # labels guide the moves k < switch
        self.labels_weigh = choices.labels_in_target and (self.particles > 1 or choices.evidence)

    def start(self, path: Path | None) -> Particles:
        # y_{1:T} | z_{1:T}, of the sweep before
        self.labels = self.read_labels(self.latents if path is None else [path[k] for k in range(self.moves, 0, -1)])
        # z_T ~ N(0, I)                                                                                (Eq. 6, t = T)
        self.y_k = next(self.labels) if self.labels_weigh else self.y_0
        return super().start(path)

    def move(self, k: int, before: Particles, ancestors: Tensor) -> Particles:
        # z_k ~ N(m_k, sigma_k^2 I)
        self.y_k = next(self.labels) if k > 0 and (k < self.switch or self.labels_weigh) else self.y_0
        return super().move(k, before, ancestors)

    def proposal_mean(self, k: int, view: View, survivors: Tensor, rows: Rows) -> Tensor:
        # m_k = mu_k - gamma_k grad log pbar(y_0|z_{k+1}) - lambda_k grad log q(y_k|z_{k+1})           (Eq. 7, App. D)
        label = self.y_k.select(survivors) if k < self.switch else None
        kappa = self.choices.kappa1 if label is None else self.choices.kappa2
        return guided_mean(self.prior, view.ahead, view.error, label, self.unit * kappa, self.choices.rho, rows)

    def log_weight(self, k: int, now: Particles) -> Tensor | None:
        # w_k = w_{k+1} p(y_k|z_k) pbar(y_0|z_k) p(z_k|z_{k+1}) / (pbar(y_0|z_{k+1}) q(z_k|z_{k+1}))           (Eq. 6)
        log_factor = super().log_weight(k, now)
        if log_factor is None or k == 0 or not self.labels_weigh:
            return log_factor
        return log_factor + self.log_label(k, residual(self.prior, self.y_k, now.z))

    def read_labels(self, latents: Iterable[Tensor]) -> Iterator[Measurement]:
        """y_k for every particle, from the first k that is read down to 1, decoded when they are read."""
        first = self.moves if self.labels_weigh else min(self.switch, self.moves) - 1
        wanted = islice(latents, self.moves - first, None)
        while some := list(islice(wanted, max(1, TOGETHER // self.images))):
            rows = torch.arange(self.images, device=self.y_0.y.device).repeat(len(some))
            for y_k in self.measurement.operator.select(rows)(self.prior.decode(torch.cat(some))).split(self.images):
                if self.choices.label_noise:
                    y_k = y_k + self.measurement.noise_std * self.noise.normal("labels", y_k.shape[1:]).to(y_k)
                yield replace(self.y_0, y=y_k.repeat_interleave(self.particles, dim=0))


def opening(model: LabelledModel) -> Tensor:
    """The images (B,3,H,W) that the fit of x_0 starts at, and leaves as they are where y_0 says nothing: the decode of
    a random latent, 0 (so that x_0 is a linear A's pseudo-inverse of y_0), or what the run without labels restores."""
    if model.choices.pixel_fit == "first_pass":  # with that run's own draws; those of the sweeps are further ones
        once = replace(model.choices, gibbs_iterations=1)
        return twisted.sample(model.prior, model.measurement, model.noise, Trace(), once)
    x = model.prior.decode(model.draw("init"))
    return torch.zeros_like(x) if model.choices.pixel_fit == "pinv" else x


def label_latents(chain: Chain, z_0: Tensor, draw: Callable[[], Tensor]) -> Iterator[Tensor]:
    """z_K..z_1 given z_0, one path an image (Eq. 2): the latents of the labels y_K..y_1. A generator, so that none is
    kept."""
    z = draw()
    yield z
    for k in reversed(range(1, chain.moves)):
        row = chain.label_rows[k]
        z = row.mean(z, z_0) + row.sigma * draw()
        yield z

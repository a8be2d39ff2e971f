"""PSLD (Rout et al., NeurIPS 2023, arXiv 2307.00619): posterior sampling with a latent diffusion model.

A DDIM step, moved against the gradients of two distances: of the decoded prediction from the measurement, and of the
predicted latent from the encoding of that prediction with the measured part put in its place ("gluing"). Both are
plain norms, not squared ones, as in the public code, to which the published omega and gamma belong.
Where the public code computes something else, the difference is a named choice, gathered in `conf/variant/psld`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.levels import ddim_rows
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling import fits, smc
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive, takes
from ldsmc_bench.sampling.guidance import Guided, guided_denoiser, look_ahead
from ldsmc_bench.sampling.resampling import flat_indices
from ldsmc_bench.sampling.trace import Trace

Glue = Literal["pinv", "adjoint", "reference"]
Lift = Callable[[Measurement, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The arguments of PSLD; conf/method and conf/variant say where each value comes from."""

    steps: Count
    eta: Fraction  # of DDIM
    omega: NonNegative  # weight of the distance from the measurement (the paper's eta)
    gamma: NonNegative  # weight of the distance of gluing
    chain: Literal["paper", "released"]  # its levels (`ddim_rows`)
    glue: Glue  # how a measurement becomes an image (`lift`)
    prediction_noise: bool  # fresh noise of the measurement's level on A(D(z0_hat)) before it is compared
    latent_fit_iterations: Natural  # of a fit of the result to y at the end (LD-SMC, App. A; not PSLD's own)
    latent_fit_lr: Positive


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    Raises Unsupported for a `glue` without a meaning for the task.
    """
    chain = Chain(prior, measurement, noise, choices)
    for step in smc.run(chain):
        trace(step.k, z=step.now.z, z0_hat=step.now.z0_hat)
    return chain.finish(step.now.z)


@dataclass(eq=False)
class Particles:
    """Latents z_k (B*n,C,h,w) of n particles an image, the prediction z0_hat that led to them, and their next move."""

    z: Tensor
    z0_hat: Tensor
    mean: Tensor  # of the move
    guided: Guided | None = None  # of it: ||y - A(D(z0_hat))|| and ||z0_hat - E(x_glue)||


class Chain:
    """PSLD's chain as a model for `smc.run`, without weights: of one particle, or (PFLD) of several."""

    name = "psld"

    def __init__(
        self, prior: Prior, measurement: Measurement, noise: Noise, choices: Choices, particles: int = 1
    ) -> None:
        self.prior, self.measurement, self.noise, self.choices = prior, measurement, noise, choices
        self.lift = lift(measurement, image_shape(prior), choices.glue, method=self.name)
        self.rows = ddim_rows(choices.chain, prior.alpha_bar, choices.steps, choices.eta)
        self.images, self.particles, self.moves = len(measurement.y), particles, len(self.rows)

    def start(self, path: smc.Path | None) -> Particles:
        # z_T ~ N(0, I)
        z = self.draw("init", self.particles, *self.prior.shape)
        return self.look(self.moves, z, z)

    def move(self, k: int, before: Particles, ancestors: Tensor) -> Particles:
        # z_k = DDIM(z_{k+1}) - grad (omega ||y - A(D(z0_hat))|| + gamma ||z0_hat - E(x_glue)||)
        assert before.guided is not None
        mean = before.mean[flat_indices(ancestors, len(before.z) // self.images)]
        z = mean + self.rows[k].sigma * self.draw("proposal", ancestors.shape[1], *self.prior.shape)
        return self.look(k, z, before.guided.z0_hat)

    def log_weight(self, k: int, now: Particles) -> Tensor | None:
        return None

    def look(self, k: int, z: Tensor, z0_hat: Tensor) -> Particles:
        """The particles z_k with the move that they take, but for its noise."""
        if k == 0:
            return Particles(z, z0_hat, z)
        y = self.measurement.repeat(particles := len(z) // self.images)
        e = y.noise_std * self.draw("prediction", particles, *y.y.shape[1:]) if self.choices.prediction_noise else 0.0

        def distances(z0_hat: Tensor) -> list[Tensor]:
            x = self.prior.decode(z0_hat)
            predicted = y.operator(x)
            # x_glue = L y + (I - L A) x for a lift L
            glued = self.lift(y, y.y) + x - self.lift(y, predicted)
            gluing = norms(self.prior.encode(glued) - z0_hat)
            return [norms(y.y - (predicted + e)), gluing]

        ahead = look_ahead(self.prior, z, self.rows[k - 1])
        guided = guided_denoiser(ahead.z, ahead.z0_hat, distances, (self.choices.omega, self.choices.gamma))
        return Particles(z, z0_hat, ahead.mean - guided.gradient, guided)

    def finish(self, z: Tensor) -> Tensor:
        fit = self.choices.latent_fit_iterations, self.choices.latent_fit_lr
        return fits.fit_and_decode(self.prior, self.measurement, z, *fit)

    def draw(self, name: str, particles: int, *shape: int) -> Tensor:
        return self.noise.normal(name, (particles, *shape)).to(self.measurement.y).flatten(0, 1)


def lift(
    measurement: Measurement, image: Sequence[int], glue: Glue, *, method: str
) -> Callable[[Measurement, Tensor], Tensor]:
    """The map of gluing from (measurement, y) to images (C,H,W): (R,c,h,w) -> (R,C,H,W).

    "pinv": the pseudo-inverse, regularised by the noise's variance for images of unit variance. "adjoint": the true
    adjoint, the form in which the paper writes it. "reference": the public code's "transpose", the identity if y has
    the size of the image, otherwise nearest neighbours.
    Raises Unsupported, in the name of `method`, for an operator without such a lift.
    """
    operator = measurement.operator
    channels, *area = measurement.y.shape[1:]
    if glue == "pinv":
        if not isinstance(operator, Invertible):
            raise Unsupported(f"{method}: gluing needs a pseudo-inverse, and this task's operator has none")
        return lambda given, y: given.operator.pinv(y, given.noise_std**2)  # type: ignore[attr-defined]
    if glue == "adjoint":
        if not operator.linear:
            raise Unsupported(f"{method}: glue=adjoint needs a linear operator, and this task's is not")
        return lambda given, y: given.operator.adjoint(y)
    if channels != image[0] or any(whole % side for whole, side in zip(image[1:], area, strict=True)):
        shape = "x".join(map(str, measurement.y.shape[1:]))
        raise Unsupported(
            f"{method}: glue=reference cannot enlarge a measurement of {shape} to the image; take glue=pinv"
        )
    return lambda given, y: F.interpolate(y, size=tuple(image[1:]), mode="nearest")


def norms(error: Tensor) -> Tensor:
    """The norm of each row, (R,); its gradient is 0 where the error is."""
    return error.flatten(1).norm(dim=1)

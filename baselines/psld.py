"""PSLD (Rout et al., NeurIPS 2023, arXiv 2307.00619): posterior sampling with a latent diffusion model.

A DDIM step, moved against the gradients of two distances: of the decoded prediction from the measurement, and of the
predicted latent from the encoding of that prediction with the measured part put in its place ("gluing"). Both are
plain norms, not squared ones: what the public code descends, and what its published omega and gamma belong to.
Where the public code computes something else than the paper, the difference is a named choice of `sample`;
`conf/method/psld.yaml` gathers the choices in variants and says why each one is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import Row, grid, released_rows, table
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.sampling.trace import Trace

Glue = Literal["pinv", "adjoint", "reference"]
Chain = Literal["paper", "released"]
Lift = Callable[[Measurement, Tensor], Tensor]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    eta: Fraction,
    omega: NonNegative,
    gamma: NonNegative,
    chain: Chain,
    glue: Glue,
    prediction_noise: bool,
    latent_fit_iterations: Natural,
    latent_fit_lr: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `omega` weighs the distance from the measurement (the paper's eta), `gamma` that of gluing; `eta` is DDIM's.
    `chain`: its levels (see `levels`). `glue`: how a measurement becomes an image (see `lift`).
    `prediction_noise` adds fresh noise of the measurement's level to A(D(z0_hat)) before it is compared. At the end the
    result is fitted to y by `latent_fit_iterations` steps of size `latent_fit_lr` (LD-SMC, App. A; not PSLD's own).
    Raises Unsupported where `glue` has no meaning for the task.
    """
    put_in_place = lift(measurement, prior.image_size, glue, method="psld")

    def draw(name: str, *shape: int) -> Tensor:
        return noise.normal(name, shape).to(measurement.y)

    # z_T ~ N(0, I)
    z = draw("init", *prior.shape)
    for k, row in reversed(list(enumerate(levels(prior, steps, eta, chain)))):
        # z' = DDIM(z_t) - grad (omega ||y - A(D(z0_hat))|| + gamma ||z0_hat - E(x_glue)||)
        error = measurement.noise_std * draw("prediction", *measurement.y.shape[1:]) if prediction_noise else None
        move = moved(prior, measurement, z, row, put_in_place, omega=omega, gamma=gamma, error=error)
        z = move.mean + row.sigma * draw("proposal", *prior.shape)
        trace(k, z=z, z0_hat=move.z0_hat)
    z = fits.latent_fit(prior, measurement, z, latent_fit_iterations, lr=latent_fit_lr)
    return prior.decode(z)


@dataclass(frozen=True)
class Move:
    """A guided step for each row: the mean of where it leads, the predicted latent and ||y - A(D(z0_hat))|| (R,)."""

    mean: Tensor
    z0_hat: Tensor
    misfit: Tensor


def moved(
    prior: Prior,
    measurement: Measurement,
    z: Tensor,
    row: Row,
    put_in_place: Lift,
    *,
    omega: float,
    gamma: float,
    error: Tensor | None,
) -> Move:
    """PSLD's step from the latents z (R,C,h,w), rows of which belong to the rows of `measurement`, without its noise.

    `error`, where given, is added to the predicted measurement. Norms are those of each row.
    """
    ahead = look_ahead(prior, z, row)
    with torch.enable_grad():
        x = prior.decode(ahead.z0_hat)
        predicted = measurement.operator(x)
        # x_glue = L y + (I - L A) x for a lift L
        glued = put_in_place(measurement, measurement.y) + x - put_in_place(measurement, predicted)
        gluing = norms(prior.encode(glued) - ahead.z0_hat)
        misfit = norms(measurement.y - (predicted if error is None else predicted + error))
        distance = (omega * misfit + gamma * gluing).sum()
    (gradient,) = torch.autograd.grad(distance, ahead.z)
    return Move(ahead.mean - gradient, ahead.z0_hat.detach(), misfit.detach())


def levels(prior: Prior, steps: int, eta: float, chain: Chain) -> list[Row]:
    """The chain's rows, rising. "paper": evenly spaced, from the last training step down to a clean latent. "released":
    the public code's table, which ends at the noise of the first level and whose length is what its stride gives.
    """
    if chain == "released":
        return released_rows(prior.alpha_bar, steps, eta)
    return table(prior.alpha_bar, grid(prior.alpha_bar, steps), eta, dtype=torch.float64)


def lift(measurement: Measurement, image_size: int, glue: Glue, *, method: str) -> Lift:
    """How gluing takes (measurement, y) to images of side `image_size`: (R,c,h,w) -> (R,3,H,W).

    "pinv": the pseudo-inverse, regularised by the noise's variance for images of unit variance. "adjoint": the true
    adjoint, the form in which the paper writes it. "reference": the public code's "transpose", the identity where y has
    the size of the image, otherwise nearest neighbours.
    Raises Unsupported, in the name of `method`, where the operator has no such lift.
    """
    operator = measurement.operator
    channels, *area = measurement.y.shape[1:]
    if glue == "pinv":
        if not isinstance(operator, Invertible):
            raise Unsupported(f"{method}: gluing needs a pseudo-inverse, and this task's operator has none")
        return _pinv
    if glue == "adjoint":
        if not operator.linear:
            raise Unsupported(f"{method}: glue=adjoint needs a linear operator, and this task's is not")
        return lambda given, y: given.operator.adjoint(y)
    if channels != 3 or any(image_size % side for side in area):
        shape = "x".join(map(str, measurement.y.shape[1:]))
        raise Unsupported(
            f"{method}: glue=reference cannot enlarge a measurement of {shape} to the image; take glue=pinv"
        )
    return lambda given, y: F.interpolate(y, size=(image_size, image_size), mode="nearest")


def _pinv(measurement: Measurement, y: Tensor) -> Tensor:
    assert isinstance(measurement.operator, Invertible)
    return measurement.operator.pinv(y, measurement.noise_std**2)


def norms(error: Tensor) -> Tensor:
    """The norm of each row, (R,); its gradient is 0 where the error is."""
    return error.flatten(1).norm(dim=1)

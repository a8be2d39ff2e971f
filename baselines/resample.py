"""ReSample (Song et al., ICLR 2024, arXiv 2307.08123): latent DDIM with hard data consistency, by resampling.

Now and then, in the last two thirds of the chain, the predicted clean latent is fitted to the measurement (of pixels in
the second third, of latents in the last), and the chain goes on from a draw between the fit and where it was. Where the
public code computes something else than the paper, the difference is a named choice of `sample`; the choices stand in
`conf/method/resample.yaml`, and `baselines/README.md` says where every number comes from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive
from ldsmc_bench.sampling.chain import Row, grid, released_rows, table
from ldsmc_bench.sampling.guidance import LookAhead, data_gradient, look_ahead, residual, squared
from ldsmc_bench.sampling.trace import Trace

CHAIN = 500  # steps of the public code's chain, in which the paper's period counts
TINY = 1e-12  # a misfit that is none: its gradient is zero, not 0/0


@dataclass(frozen=True)
class Move:
    """A DDIM move and, where the measurement is to be met afterwards, by which fit and from how far ahead."""

    row: Row
    fit: Literal["pixel", "latent"] | None
    ahead: list[Row]  # the moves of the look ahead before the fit


@dataclass(frozen=True)
class Choices:
    """What every move is made with; `sample` says what each means."""

    gamma: float
    guidance: float
    pixel_iterations: int
    pixel_lr: float
    latent_iterations: int
    latent_lr: float
    weight_decay: float
    fitted_at: float | Tensor  # one for all images, or one each (B,)
    prediction: Literal["tweedie", "released"]
    variance: Literal["paper", "released"]


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    eta: Fraction,
    gamma: Positive,
    guidance: NonNegative,
    period: Count,
    ahead: Natural,
    pixel_iterations: Natural,
    pixel_lr: Positive,
    latent_iterations: Natural,
    latent_lr: Positive,
    final_iterations: Natural,
    weight_decay: NonNegative,
    fitted_at: Literal["noise"] | Positive,
    chain: Literal["paper", "released"],
    prediction: Literal["tweedie", "released"],
    variance: Literal["paper", "released"],
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `gamma`: how much a fit counts against the chain (`resampling_variance`). `period`: how far apart fits are
    (`moves_of`). `ahead`: how many DDIM moves are looked ahead to where a fit starts. `guidance`: the step against the
    gradient of ||y - A(D(z0_hat))||, in units of alpha_bar, with the denoiser's output taken as constant. `fitted_at`:
    the mean squared error at which an image's fit stops; "noise" for what the truth has on average. `prediction`: see
    `predicted`. The denoiser is never differentiated, and any operator will do that autograd passes through.
    """
    choices = Choices(
        gamma=gamma,
        guidance=guidance,
        pixel_iterations=pixel_iterations,
        pixel_lr=pixel_lr,
        latent_iterations=latent_iterations,
        latent_lr=latent_lr,
        weight_decay=weight_decay,
        fitted_at=fits.discrepancy(measurement) if fitted_at == "noise" else fitted_at,
        prediction=prediction,
        variance=variance,
    )

    def draw(name: str) -> Tensor:
        return noise.normal(name, prior.shape).to(measurement.y)

    # z_T ~ N(0, I)
    z = draw("init")
    moves = moves_of(chain, prior.alpha_bar, steps, eta, period, ahead)
    for k in reversed(range(len(moves))):
        z, z0_hat = moved(prior, measurement, z, moves[k], lambda: draw("move"), choices)
        if k == 0:  # nothing is left to resample: z_0 is z_0(y) itself
            z = fitted(prior, measurement, z, "latent", final_iterations, choices)
        trace(k, z=z, z0_hat=z0_hat)
    return prior.decode(z)


def moved(
    prior: Prior, measurement: Measurement, z: Tensor, move: Move, draw: Callable[[], Tensor], choices: Choices
) -> tuple[Tensor, Tensor]:
    """The loop's body: the next latent from `z`, and the clean latent (B,C,h,w) that the denoiser predicted last.

    `draw` gives standard normals: one a DDIM move, where eta is 0 too, as in the public code, and one to resample.
    """
    # z' by DDIM, towards y where guided
    row = move.row
    now = look_ahead(prior, z, row, gradient=False)
    z_0 = predicted(now, row, choices.prediction)
    z = now.mean + now.sigma * draw()
    if choices.guidance > 0:
        z = z - choices.guidance * row.a**0.5 * norm_gradient(prior, measurement, z_0)
    further = z
    for row_ahead in move.ahead:
        now = look_ahead(prior, further, row_ahead, gradient=False)
        z_0 = predicted(now, row_ahead, choices.prediction)
        further = now.mean + now.sigma * draw()
    if move.fit is not None:
        # z_0(y) in argmin ||y - A(D(z))||^2, from the prediction; z ~ StochasticResample(z_0(y), z', gamma)
        iterations = choices.pixel_iterations if move.fit == "pixel" else choices.latent_iterations
        z_0 = fitted(prior, measurement, z_0, move.fit, iterations, choices)
        variance = choices.gamma * resampling_variance(row, choices.variance)
        z = stochastic_resample(z_0, z, row.a_prev, variance, draw())
    return z, now.z0_hat


def fitted(
    prior: Prior,
    measurement: Measurement,
    z_0: Tensor,
    space: Literal["pixel", "latent"],
    iterations: int,
    choices: Choices,
) -> Tensor:
    """z_0(y): the latent that fits y, found from `z_0` in the space of images or of latents (hard data consistency)."""
    stop, decay = choices.fitted_at, choices.weight_decay
    if space == "latent":
        return fits.latent_fit(
            prior, measurement, z_0, iterations, lr=choices.latent_lr, fitted_at=stop, weight_decay=decay
        )
    x_0 = prior.decode(z_0)
    x_0 = fits.pixel_fit(measurement, x_0, iterations, lr=choices.pixel_lr, fitted_at=stop, weight_decay=decay)
    return prior.encode(x_0)


def moves_of(
    chain: Literal["paper", "released"], alpha_bar: Tensor, steps: int, eta: float, period: int, ahead: int
) -> list[Move]:
    """The moves k = K-1..0 in rising order; fits follow every `period`-th move of the last two thirds, but the last.

    paper: `steps` moves that end clean; the period counts in steps of a chain of 500, so that a chain of any length
    has about as many fits. released: the public code's table and a period in steps; its look ahead takes the levels of
    a row with the timestep of the next one. Raises UserError where the schedule has fewer training steps than `steps`.
    """
    if chain == "released":
        rows, apart = released_rows(alpha_bar, steps, eta), period
        after = [replace(row, t=below.t) for below, row in pairwise(rows)]
    else:
        rows = table(alpha_bar, grid(alpha_bar, steps), eta, dtype=torch.float64)
        apart = max(1, round(period * steps / CHAIN))
        after = rows[:-1]
    third, moves = len(rows) // 3, []
    for k, row in enumerate(rows):
        due = 0 < k <= len(rows) - third and k % apart == 0
        kind: Literal["pixel", "latent"] | None = ("pixel" if k >= third else "latent") if due else None
        moves.append(Move(row, kind, after[max(0, k - ahead) : k][::-1] if due else []))
    return moves


def predicted(moments: LookAhead, row: Row, prediction: Literal["tweedie", "released"]) -> Tensor:
    """The clean latent that guidance and fits start from: Tweedie's, or the public code's (z - (1 - a) eps) / sqrt(a),
    which has 1 - a where Tweedie has its root and so takes away only a part of the noise."""
    if prediction == "tweedie":
        return moments.z0_hat
    noise = moments.z - row.a**0.5 * moments.z0_hat  # sqrt(1 - a) eps
    return (moments.z - (1 - row.a) ** 0.5 * noise) / row.a**0.5


def norm_gradient(prior: Prior, measurement: Measurement, z: Tensor) -> Tensor:
    """The gradient of each row's ||y - A(D(z))|| with respect to its latent."""
    z = z.detach().requires_grad_(True)
    with torch.enable_grad():
        error = residual(prior, measurement, z)
    norm = squared(error.detach()).sqrt().clamp(min=TINY)
    return data_gradient(error, z) / (2 * norm).reshape(-1, 1, 1, 1)


def resampling_variance(row: Row, variance: Literal["paper", "released"]) -> float:
    """sigma_t^2 / gamma after the move of `row`: (1 - a_prev) / a (1 - a / a_prev) in the paper, and in the public code
    with 1 - a in place of the first a. The larger, the more a fit counts against the chain's own latent."""
    share = row.a if variance == "paper" else 1 - row.a
    return (1 - row.a_prev) / share * (1 - row.a / row.a_prev)


def stochastic_resample(z_0: Tensor, z: Tensor, a: float, variance: float, draw: Tensor) -> Tensor:
    """The latent at alpha_bar `a` < 1 given the fit `z_0` and the chain's own latent `z` there: from the product of
    N(sqrt(a) z_0, (1 - a) I), the forward process, and N(z, variance I) (Proposition 1); `draw` is standard normal."""
    mean = (variance * a**0.5 * z_0 + (1 - a) * z) / (variance + 1 - a)
    return mean + (variance * (1 - a) / (variance + 1 - a)) ** 0.5 * draw

"""ReSample (Song et al., ICLR 2024, arXiv 2307.08123): latent DDIM with hard data consistency, by resampling.

Now and then, in the last two thirds of the chain, the predicted clean latent is fitted to the measurement (of pixels in
the second third, of latents in the last), and the chain goes on from a draw between the fit and where it was. Where the
public code computes something else, the difference is a named choice; `baselines/README.md` has every number's source.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from baselines.levels import ddim_rows
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Natural, NonNegative, Positive, takes
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import LookAhead, look_ahead, misfit_gradient, norm_gradient
from ldsmc_bench.sampling.trace import Trace

CHAIN = 500  # steps of the public code's chain, in which the paper's period counts
Space = Literal["pixel", "latent"]
Variant = Literal["paper", "released"]


@dataclass(frozen=True)
class Move:
    """A DDIM move and, if a fit to the measurement follows, its space and where it starts."""

    row: Row
    fit: Space | None
    ahead: list[Row]  # the moves of the look ahead before the fit


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The arguments of ReSample; conf/method and conf/variant say where each value comes from."""

    steps: Count
    eta: Fraction  # of DDIM
    gamma: Positive  # how much a fit counts against the chain (`resampling_variance`)
    guidance: NonNegative  # the step against the gradient of ||y - A(D(z0_hat))||, in units of alpha_bar
    period: Count  # moves between fits (`plan`)
    ahead: Natural  # DDIM moves to look ahead to the latent that a fit starts from
    pixel_iterations: Natural
    pixel_lr: Positive
    latent_iterations: Natural
    latent_lr: Positive
    final_iterations: Natural
    weight_decay: NonNegative
    fitted_at: Literal["noise"] | Positive  # mean squared error at which a fit stops; noise: as the truth's
    chain: Variant  # `plan`
    prediction: Literal["tweedie", "released"]  # `predict`
    variance: Variant  # `resampling_variance`


@takes(Choices)
@torch.no_grad()
def sample(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, choices: Choices) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    The denoiser is never differentiated, and any operator will do that autograd passes through.
    """

    def draw(name: str) -> Tensor:
        return noise.normal(name, prior.shape).to(measurement.y)

    # z_T ~ N(0, I)
    z = draw("init")
    moves = plan(choices.chain, prior.alpha_bar, choices.steps, choices.eta, choices.period, choices.ahead)
    for k in reversed(range(len(moves))):
        z, z0_hat = step(prior, measurement, z, moves[k], lambda: draw("move"), choices)
        if k == 0:  # nothing is left to resample: z_0 is z_0(y) itself
            z = fit(prior, measurement, z, "latent", choices.final_iterations, choices)
        trace(k, z=z, z0_hat=z0_hat)
    return prior.decode(z)


def step(
    prior: Prior, measurement: Measurement, z: Tensor, move: Move, draw: Callable[[], Tensor], choices: Choices
) -> tuple[Tensor, Tensor]:
    """The loop's body: the next latent from `z`, and the clean latent (B,C,h,w) that the denoiser predicted last.

    `draw` gives standard normals: one a DDIM move, even where eta is 0, as in the public code, and one to resample.
    """
    # z' by DDIM, towards y where guided; the denoiser's output is taken as constant
    row = move.row
    now = look_ahead(prior, z, row, gradient=False)
    z_0 = predict(now, row, choices.prediction)
    z = now.mean + now.sigma * draw()
    if choices.guidance > 0:
        z = z - choices.guidance * row.a**0.5 * norm_gradient(*misfit_gradient(prior, measurement, z_0))
    further = z
    for row_ahead in move.ahead:
        now = look_ahead(prior, further, row_ahead, gradient=False)
        z_0 = predict(now, row_ahead, choices.prediction)
        further = now.mean + now.sigma * draw()
    if move.fit is not None:
        # z_0(y) in argmin ||y - A(D(z))||^2, from the prediction; z ~ StochasticResample(z_0(y), z', gamma)
        iterations = choices.pixel_iterations if move.fit == "pixel" else choices.latent_iterations
        z_0 = fit(prior, measurement, z_0, move.fit, iterations, choices)
        variance = choices.gamma * resampling_variance(row, choices.variance)
        z = stochastic_resample(z_0, z, row.a_prev, variance, draw())
    return z, now.z0_hat


def fit(prior: Prior, measurement: Measurement, z_0: Tensor, space: Space, iterations: int, choices: Choices) -> Tensor:
    """z_0(y): the latent that fits y, found from `z_0` in the space of images or of latents (hard data consistency)."""
    stop = noise_level_mse(measurement) if isinstance(choices.fitted_at, str) else choices.fitted_at
    lr = choices.latent_lr if space == "latent" else choices.pixel_lr
    options = {"lr": lr, "fitted_at": stop, "weight_decay": choices.weight_decay}
    if space == "latent":
        return fits.latent_fit(prior, measurement, z_0, iterations, **options)
    return prior.encode(fits.pixel_fit(measurement, prior.decode(z_0), iterations, **options))


def plan(chain: Variant, alpha_bar: Tensor, steps: int, eta: float, period: int, ahead: int) -> list[Move]:
    """The moves k = K-1..0 in rising order; fits follow every `period`-th move of the last two thirds, but the last.

    paper: `steps` moves that end clean; the period counts in steps of a chain of 500, so that a chain of any length
    has about as many fits. released: the public code's table and a period in steps; its look ahead takes the levels of
    a row with the timestep of the next one. Raises UserError if the schedule has fewer training steps than `steps`.
    """
    rows, apart = ddim_rows(chain, alpha_bar, steps, eta), max(1, round(period * steps / CHAIN))
    after = rows[:-1]
    if chain == "released":
        apart, after = period, [replace(row, t=below.t) for below, row in pairwise(rows)]
    third, moves = len(rows) // 3, []
    for k, row in enumerate(rows):
        due = 0 < k <= len(rows) - third and k % apart == 0
        space: Space | None = ("pixel" if k >= third else "latent") if due else None
        moves.append(Move(row, space, after[max(0, k - ahead) : k][::-1] if due else []))
    return moves


def predict(moments: LookAhead, row: Row, prediction: Literal["tweedie", "released"]) -> Tensor:
    """The clean latent that guidance and fits start from: Tweedie's, or the public code's (z - (1 - a) eps) / sqrt(a),
    with 1 - a in place of its root, which takes away only a part of the noise."""
    if prediction == "tweedie":
        return moments.z0_hat
    noise = moments.z - row.a**0.5 * moments.z0_hat  # sqrt(1 - a) eps
    return (moments.z - (1 - row.a) ** 0.5 * noise) / row.a**0.5


def resampling_variance(row: Row, variance: Variant) -> float:
    """sigma_t^2 / gamma after the move of `row`: (1 - a_prev) / a (1 - a / a_prev) in the paper, and in the public code
    with 1 - a in place of the first a. The larger, the more a fit counts against the chain's own latent."""
    share = row.a if variance == "paper" else 1 - row.a
    return (1 - row.a_prev) / share * (1 - row.a / row.a_prev)


def stochastic_resample(z_0: Tensor, z: Tensor, a: float, variance: float, draw: Tensor) -> Tensor:
    """The latent at alpha_bar `a` < 1 given the fit `z_0` and the chain's own latent `z` there: from the product of
    N(sqrt(a) z_0, (1 - a) I), the forward process, and N(z, variance I) (Proposition 1); `draw` is standard normal."""
    mean = (variance * a**0.5 * z_0 + (1 - a) * z) / (variance + 1 - a)
    return mean + (variance * (1 - a) / (variance + 1 - a)) ** 0.5 * draw


def noise_level_mse(measurement: Measurement) -> Tensor:
    """The mean squared error (B,) over y's entries that the truth has on average (Morozov's discrepancy principle): the
    noise variance on observed entries, y^2 on unobserved ones; at least `fits.EXACT`."""
    observed = measurement.operator.observed()
    seen = torch.ones_like(measurement.y) if observed is None else observed.expand_as(measurement.y)
    expected = torch.where(seen > 0, measurement.noise_std**2, measurement.y.square())
    return expected.flatten(1).mean(dim=1).clamp(min=fits.EXACT)

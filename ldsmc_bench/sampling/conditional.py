"""Images given a linear measurement, under the prior N(m, r^2 I): their mean and exact draws.

References: Papandreou & Yuille, NeurIPS 2010 (draws by perturbing the problem, then solving it).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ldsmc_bench.problem.conjugate_gradients import solve
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.spectral import Spectral


def posterior_mean(
    measurement: Measurement,
    m: Tensor,
    variance: float | Tensor,
    factors: Spectral | None = None,
    iterations: int = 100,
) -> Tensor:
    """m + r^2 A^T (noise_std^2 + r^2 A A^T)^-1 (y - A m), for means m (B,C,H,W) and r^2 = `variance`, at least 0, one
    for all or one a row (B,1,1,1): the minimiser of |y - A x|^2 / noise_std^2 + |x - m|^2 / r^2.

    Exact by the singular values `factors` of the operator; without, by at most so many `iterations` of conjugate
    gradients, whose error grows with r / noise_std. What y holds of pixels that are not observed does not matter.
    Raises Unsupported for an operator that is not linear.
    """
    operator, noise = measurement.operator, measurement.noise_std**2
    if factors is not None:
        s, error = factors.s, factors.ut(measurement.y) - factors.s * factors.vt(m)
        explained = torch.clamp(noise + variance * s**2, min=torch.finfo(m.dtype).tiny)  # 0 where nothing is measured
        return m + factors.v(variance * s / explained * error)
    error = variance * operator.adjoint(measurement.y - operator(m))
    return m + solve(lambda x: noise * x + variance * operator.adjoint(operator(x)), error, iterations)


def posterior_draw(
    measurement: Measurement,
    m: Tensor,
    variance: float | Tensor,
    draw: Callable[[torch.Size], Tensor],
    factors: Spectral | None = None,
    iterations: int = 100,
) -> Tensor:
    """Independent draws of N(m, r^2 I) given y, one a row: the posterior mean of draws of m and of y.

    `draw` gives standard normal rows of a shape, such as `lambda shape: noise.normal("likelihood", shape)`.
    Arguments and errors otherwise as of `posterior_mean`.
    """
    y = measurement.y
    perturbed = replace(measurement, y=y + measurement.noise_std * draw(y.shape[1:]).to(y))
    return posterior_mean(perturbed, m + variance**0.5 * draw(m.shape[1:]).to(m), variance, factors, iterations)

"""FlowDPS (Kim et al., ICCV 2025, arXiv 2503.08136): posterior sampling on the flow between data and noise.

At each time the flow's clean end is moved towards the measurement by a few gradient steps, in part; its noisy end is
kept in part and drawn afresh in part. The denoiser is never differentiated.

References: Kim et al. 2025, Algorithm 1; public code FlowDPS-Inverse/FlowDPS. A diffusion prior is a flow too:
x = (1 - t) x_0 + t n (Lipman et al. 2023).
"""

import torch
from torch import Tensor

from baselines.chains import flow_clean
from baselines.guided import in_pixels
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, NonNegative, Positive
from ldsmc_bench.sampling.guidance import guided_denoiser, norm_gradient, squared
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    iterations: Count,
    step_size: NonNegative,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    Each of `steps` times takes a call of the denoiser and `iterations` gradient steps, whose `step_size` is in units of
    the length of a draw of the prior, sqrt(dimension) times `prior_std` (latents have 1). Raises Unsupported for an
    operator without a pseudo-inverse.
    """
    operator = measurement.operator
    if not isinstance(operator, Invertible):
        raise Unsupported("flowdps: needs a pseudo-inverse, and this task's operator has none")
    back = operator.pinv(measurement.y, measurement.noise_std**2 / prior_std**2)

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(measurement.y)

    def misfit(x_0: Tensor) -> list[Tensor]:
        """||A^+ y - A^+ A D(x_0)||^2 of each row."""
        return [squared(back - operator.pinv(operator(prior.decode(x_0)), measurement.noise_std**2 / prior_std**2))]

    x = draw()
    std = prior_std if in_pixels(prior, x) else 1.0
    length = step_size * std * x[0].numel() ** 0.5
    x = std * x
    for k in reversed(range(steps)):
        t, below = (k + 1) / steps, k / steps
        # x^0 = x - t v,  x^1 = x + (1 - t) v: the flow's ends
        x0_hat = flow_clean(prior, x, t, std)
        x1_hat = (x - (1 - t) * x0_hat) / t
        # x^0(y) = gradient steps on ||A^+ y - A^+ A D(x^0)||
        x0_y = x0_hat
        for _ in fits.ITERATIONS.get()(iterations):
            one = x0_y.detach().requires_grad_(True)
            guided = guided_denoiser(one, one, misfit)
            x0_y = x0_y - length * norm_gradient(guided.gradient, guided.distances[0])
        # x^0 <- (1 - t) x^0 + t x^0(y)
        x_0 = (1 - t) * x0_hat + t * x0_y
        # x <- (1 - t') x^0 + t' (sqrt(t') x^1 + sqrt(1 - t') xi)
        x = (1 - below) * x_0 + below * (below**0.5 * x1_hat + (1 - below) ** 0.5 * std * draw())
        trace(k, z=x, z0=x_0)
    return prior.decode(x)

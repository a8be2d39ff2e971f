"""MGDM (Janati et al., ICML 2025, arXiv 2502.03332): mixture-based guidance, by Gibbs sampling.

The likelihood guides a state x_tau somewhere below the current level, where the denoiser knows more of x_0. In turn:
x_tau given both ends and y, by a Gaussian fitted to it; x_0 given x_tau, by the prior's chain; the next x_t.

References: Janati et al. 2025, Algorithms 1 and 2, App. on settings. States here are in the variance-exploding scale,
x = x_0 + sigma n, and steps in units of the prior's standard deviation.
"""

from itertools import pairwise

import torch
from torch import Tensor

from baselines.chains import descend, down_to_clean
from baselines.guided import in_pixels
from baselines.latent_daps import noise_grid
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, Fraction, Positive
from ldsmc_bench.sampling.guidance import residual, squared
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.sampling.twist import noise_variance
from ldsmc_bench.sampling.views import denoise

GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, are as even as can be: tau is the same for all images


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    repetitions: Count,
    early: Fraction,
    iterations: Count,
    last_iterations: Count,
    lr: Positive,
    chain_steps: Count,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` levels, each with `repetitions` rounds of Gibbs sampling. In the share `early` of the steps tau is any lower
    level (a sequence that is the same for all images), and Adam takes `iterations` steps of size `lr`, in units of
    the standard deviation of x_tau; later tau is the next level, and they are `last_iterations`. x_0 takes at most
    `chain_steps` calls of the denoiser. `prior_std` is the standard deviation of images; latents have 1.
    """
    variance = noise_variance(measurement)

    def draw(name: str) -> Tensor:
        return noise.normal(name, prior.shape).to(measurement.y)

    def bridge(x_0: Tensor, x: Tensor, low: float, s: float, high: float) -> tuple[Tensor, float]:
        """Mean and standard deviation of x_s given x_0 at the level `low` and x at `high`."""
        share = (s**2 - low**2) / (high**2 - low**2)
        return x_0 + share * (x - x_0), ((s**2 - low**2) * (1 - share)) ** 0.5

    def guided(m_b: Tensor, s_b: float, tau: float, count: int) -> Tensor:
        """x_tau ~ N(m_b, s_b^2 I) p(y | D(x_tau)), by the nearest Gaussian N(m, s^2)."""
        m, log_s = m_b.clone().requires_grad_(True), torch.full_like(m_b, s_b).log().requires_grad_(True)
        scale = (unit**2 + tau**2) ** 0.5  # the standard deviation of x_tau
        optimizer = torch.optim.Adam([{"params": [m], "lr": lr * scale}, {"params": [log_s], "lr": lr}])
        for _ in fits.ITERATIONS.get()(count):
            e = draw("fit")
            with torch.enable_grad():
                # -log p(y | D(m + s e)) + E |m + s e - m_b|^2 / 2 s_b^2 - sum log s
                x = m + log_s.exp() * e
                misfit = squared(residual(prior, measurement, denoise(prior, x, tau))) / (2 * variance.to(x))
                apart = (squared(m - m_b) + squared(log_s.exp())) / (2 * s_b**2)
                loss = misfit + apart - log_s.flatten(1).sum(dim=1)
                m.grad, log_s.grad = torch.autograd.grad(loss.sum(), [m, log_s])
            optimizer.step()
        return (m + log_s.exp() * draw("state")).detach()

    x = draw("init")
    unit = prior_std if in_pixels(prior, x) else 1.0
    highest, lowest = (float(((1 - a) / a) ** 0.5) for a in prior.alpha_bar[[-1, 0]])
    sigmas = noise_grid(highest, lowest, steps)
    x = highest * x
    x_0 = descend(prior, x, down_to_clean(prior, highest, chain_steps), lambda: draw("prior"))
    for k, (high, low) in enumerate(pairwise(sigmas)):
        for repetition in range(repetitions):
            # tau ~ U[lowest, t), later tau = t
            free = k < early * steps
            between = (k * repetitions + repetition + 1) * GOLDEN % 1 if free else 0.0
            tau = sigmas[k + 1 + int(between * (steps - k - 1))]
            m_b, s_b = bridge(x_0, x, 0.0, tau, high)
            x_tau = guided(m_b, s_b, tau, iterations if free else last_iterations)
            # x_0 ~ p(x_0 | x_tau)
            x_0 = descend(prior, x_tau, down_to_clean(prior, tau, chain_steps), lambda: draw("prior"))
        # x_t ~ q(x_t | x_tau, x_{t+1})
        m, s = bridge(x_tau, x, tau, low, high)
        x = m + s * draw("bridge")
        trace(steps - 1 - k, z=x, z0=x_0)
    return prior.decode(x_0)

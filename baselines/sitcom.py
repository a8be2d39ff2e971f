"""SITCOM (Alkhouri et al., ICML 2025, arXiv 2410.04479): step-wise triple-consistent sampling.

At each level the denoiser's input is moved until its prediction fits the measurement, by Adam through the denoiser; the
prediction from there is noised to the next level.

References: Alkhouri et al. 2025; public code sjames40/SITCOM, `SITCOM_with_noise.py`. That returns the
iterate of the best PSNR against the truth; here the last one is returned.
"""

import torch
from torch import Tensor

from baselines.guided import in_pixels
from baselines.levels import ddim_rows
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.arguments import Count, NonNegative, Positive
from ldsmc_bench.sampling.guidance import guided_denoiser, look_ahead, residual, squared
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
    lr: Positive,
    lam: NonNegative,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `steps` are noise levels of `iterations` steps of Adam each, of size `lr` in units of `prior_std`, the standard
    deviation of images (latents have 1); `lam` is the paper's lambda, for images of [-1,1] likewise.
    """
    y = measurement.y
    # delta: the misfit of the noise
    observed = measurement.operator.observed()
    entries = y[0].numel() if observed is None else observed.expand_as(y).flatten(1).sum(dim=1)
    level = measurement.noise_std
    floor = entries * (level.flatten() if isinstance(level, Tensor) else level) ** 2

    def draw() -> Tensor:
        return noise.normal("proposal", prior.shape).to(y)

    x = draw()
    unit = prior_std if in_pixels(prior, x) else 1.0
    for k, row in reversed(list(enumerate(ddim_rows("paper", prior.alpha_bar, steps, 0.0)))):
        # v = argmin ||A(f(v; t)) - y||^2 + lambda ||x_t - v||^2, from v = x_t, until the misfit is the noise's
        v = x.clone().requires_grad_(True)
        scale = (row.a * unit**2 + 1 - row.a) ** 0.5  # the standard deviation of x_t
        optimizer, running = torch.optim.Adam([v], lr=lr * scale), torch.ones(len(x), dtype=torch.bool, device=x.device)
        for _ in fits.ITERATIONS.get()(iterations):
            ahead = look_ahead(prior, v, row)
            guided = guided_denoiser(ahead.z, ahead.z0_hat, lambda z0: [squared(residual(prior, measurement, z0))])
            running = running & (guided.distances[0] > floor)
            v.grad = guided.gradient + 2 * lam * (v.detach() - x)
            before = v.detach().clone()
            optimizer.step()
            v.copy_(torch.where(running.reshape(-1, 1, 1, 1), v, before))
        # x_0 = f(v; t),  x_{t-1} = sqrt(a') x_0 + sqrt(1 - a') eps
        x0 = look_ahead(prior, v, row, gradient=False).z0_hat
        x = row.a_prev**0.5 * x0 + (1 - row.a_prev) ** 0.5 * draw()
        trace(k, z=x, z0=x0)
    return prior.decode(x)

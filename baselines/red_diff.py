"""RED-diff (Mardani et al., ICLR 2024, arXiv 2305.04391): variational sampling by optimisation.

A point mu represents the posterior. At falling noise levels it descends the misfit plus a regulariser by denoising: the
denoiser's error on noise that was added to mu. The denoiser is never differentiated; a draw of the posterior this is
not, but a mode.

References: Mardani, Song, Kautz and Vahdat 2024; public code NVlabs/RED-diff `cdf18c9`,
`algos/reddiff.py`, `_configs/algo/reddiff.yaml`.
"""

import torch
from torch import Tensor

from baselines.guided import in_pixels
from baselines.levels import ddim_rows
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Invertible
from ldsmc_bench.sampling.arguments import Count, NonNegative, Positive
from ldsmc_bench.sampling.guidance import misfit_gradient
from ldsmc_bench.sampling.trace import Trace


@torch.no_grad()
def sample(
    prior: Prior,
    measurement: Measurement,
    noise: Noise,
    trace: Trace,
    *,
    steps: Count,
    lam: NonNegative,
    lr: Positive,
    prior_std: Positive,
) -> Tensor:
    """Restore the images of `measurement`: (B,3,H,W), about [-1,1].

    `lam` is the paper's lambda, the weight of the regulariser. `lr` is Adam's step in units of `prior_std`, the
    standard deviation of images; latents have 1.
    """
    y = measurement.y

    # mu = A^+ y, with noise of the measurement's level allowed for; the middle of the range where there is none
    x = y.new_zeros(len(y), *prior.decode(y.new_zeros(1, *prior.shape)).shape[1:])
    if isinstance(measurement.operator, Invertible):
        x = measurement.operator.pinv(y, measurement.noise_std**2)
    mu = prior.encode(x).detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([mu], lr=lr * (prior_std if in_pixels(prior, mu) else 1.0), betas=(0.9, 0.99))
    for k, row in reversed(list(enumerate(ddim_rows("paper", prior.alpha_bar, steps, 0.0)))):
        # x_t = sqrt(a_t) mu + sqrt(1 - a_t) eps
        eps = noise.normal("proposal", prior.shape).to(y)
        t = torch.full((len(y),), row.t, device=y.device)
        predicted = prior.eps(row.a**0.5 * mu.detach() + (1 - row.a) ** 0.5 * eps, t)
        # loss = ||y - A(mu)||^2 / 2 + lambda_t sg[eps_theta(x_t) - eps]^T mu,  lambda_t = lambda sigma_t, both as means
        gradient, _ = misfit_gradient(prior, measurement, mu)
        sigma = ((1 - row.a) / row.a) ** 0.5
        mu.grad = 0.5 * gradient / y[0].numel() + lam * sigma * (predicted - eps) / eps[0].numel()
        optimizer.step()
        trace(k, mu=mu.detach().clone())
    return prior.decode(mu.detach())

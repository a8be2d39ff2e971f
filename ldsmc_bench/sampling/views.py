"""Any prior as a denoiser at a level sigma of noise, and as a flow between data and noise.

The network calls are the prior's own, and are counted with it.
References: Karras et al., NeurIPS 2022, arXiv 2206.00364 (App. C.1: a variance-preserving network at any sigma);
Lipman et al., ICLR 2023, arXiv 2210.02747 (flows).
"""

import torch
from torch import Tensor

from ldsmc_bench.prior.interface import Prior


def denoise(prior: Prior, x: Tensor, sigma: float | Tensor) -> Tensor:
    """D(x, sigma) = E[x_0 | x] for x = x_0 + sigma n (R,C,h,w), `sigma` at least 0, one for all or one a row (R,).

    Differentiable in x. More noise than the schedule has counts as its most, with x scaled down to that.
    """
    a = 1 / (1 + torch.as_tensor(sigma, dtype=torch.float64).square())
    return predict(prior, _per_row(a.sqrt(), x) * x, a)


def flow_velocity(prior: Prior, x: Tensor, t: float) -> Tensor:
    """E[n - x_0 | x] for x = (1 - t) x_0 + t n (R,C,h,w), 0 < t <= 1; so x - t v is E[x_0 | x], and x + (1 - t) v is
    E[n | x]. At sigma = t / (1 - t), x / (1 - t) is what `denoise` takes; t = 1 counts as the schedule's last level."""
    square = (1 - t) ** 2 + t**2
    x_0 = predict(prior, x / square**0.5, torch.tensor((1 - t) ** 2 / square, dtype=torch.float64))
    return (x - x_0) / t


def predict(prior: Prior, z: Tensor, a: Tensor) -> Tensor:
    """E[x_0 | z] for z = sqrt(a) x_0 + sqrt(1 - a) n (R,C,h,w), `a` in [0,1], float64, one for all or one a row (R,):
    by the prediction at the training step, not whole, where alpha_bar is `a`. A smaller `a` than the schedule has
    counts as its smallest."""
    alpha_bar = prior.alpha_bar.to(a.device)
    eps = prior.eps(z, timestep(alpha_bar, a).to(z.device).expand(len(z)))
    a = a.clamp(min=alpha_bar[-1])
    return (z - _per_row((1 - a).sqrt(), z) * eps) / _per_row(a.sqrt(), z)


def timestep(alpha_bar: Tensor, a: Tensor) -> Tensor:
    """The training steps, in general not whole, where alpha_bar (T,), interpolated, is `a`, float64; beyond the ends
    of the schedule its first or last step. T is at least 2."""
    above = torch.searchsorted(-alpha_bar, -a).clamp(1, len(alpha_bar) - 1)
    high, low = alpha_bar[above - 1], alpha_bar[above]
    return above - 1 + ((high - a) / (high - low)).clamp(0, 1)


def _per_row(values: Tensor, x: Tensor) -> Tensor:
    """Numbers () or (R,), shaped to multiply the rows of `x`."""
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))

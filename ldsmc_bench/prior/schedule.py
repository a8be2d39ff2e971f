"""Noise schedules: alpha_bar of the training steps, in float64, and between them."""

import torch
from torch import Tensor


def scaled_linear(steps: int = 1000, start: float = 0.0015, end: float = 0.0195) -> Tensor:
    """alpha_bar (steps,) of the schedule that latent diffusion calls "linear": betas linear in their square root. The
    defaults are those of its FFHQ, CelebA and ImageNet checkpoints."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def linear(steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """alpha_bar (steps,) of the plain linear schedule (DDPM; guided-diffusion's "linear"), for pixel priors."""
    scale = 1000 / steps
    betas = torch.linspace(scale * start, scale * end, steps, dtype=torch.float64)
    return torch.cumprod(1 - betas, dim=0)


def alpha_bar_at(alpha_bar: Tensor, t: Tensor) -> Tensor:
    """alpha_bar (R,) at training steps t (R,), on their device, interpolated between whole ones (as `views.timestep`
    does); beyond the ends of the schedule (T,) its first or last."""
    levels = alpha_bar.to(t.device)
    below = t.floor().long().clamp(0, len(levels) - 1)
    above = (below + 1).clamp(max=len(levels) - 1)
    return torch.lerp(levels[below], levels[above], (t - below).to(levels.dtype).clamp(0, 1))

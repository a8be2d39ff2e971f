"""What every checkpoint of CompVis/latent-diffusion holds, conditional or not."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError

RAW, EMA, FIRST_STAGE = "model.diffusion_model.", "model_ema.diffusion_model", "first_stage_model."
_EMA_COUNTERS = {"model_ema.decay", "model_ema.num_updates"}
_SCHEDULE_BUFFERS = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
}


def has_average(weights: Mapping[str, Tensor]) -> bool:
    """Whether the file holds the running average of the UNet's weights beside the raw ones."""
    return any(key.startswith(EMA) for key in weights)


def unet_key(averaged: bool) -> Callable[[str], str]:
    """From the UNet's own key to the file's: that of the averaged weights (written without dots) or of the raw ones."""
    return (lambda key: EMA + key.replace(".", "")) if averaged else (lambda key: RAW + key)


def unneeded(key: str, averaged: bool) -> bool:
    """Keys that no sampler needs: schedules (computed), the other copy of the UNet, the first stage's training loss."""
    other_copy = RAW if averaged else EMA
    return key in _SCHEDULE_BUFFERS | _EMA_COUNTERS or key.startswith((other_copy, FIRST_STAGE + "loss."))


def check_schedule(alpha_bar: Tensor, weights: Mapping[str, Tensor], path: Path) -> None:
    """The file's own schedule, where it has one, guards against a config of another model: UserError if they differ."""
    stored = weights.get("alphas_cumprod")
    if stored is not None and not (
        stored.shape == alpha_bar.shape and torch.allclose(stored.double(), alpha_bar, rtol=1e-4, atol=1e-7)
    ):
        raise UserError(
            f"{path}: alphas_cumprod is not that of the config's linear_start and linear_end; use its config"
        )

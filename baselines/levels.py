"""The levels of the competitors' chains: of guided-diffusion, and of the DDIM in latent diffusion's public code."""

from dataclasses import replace
from itertools import accumulate, repeat
from typing import Literal

import torch
from torch import Tensor

from ldsmc_bench.sampling.chain import Row, grid, require_steps, table


def spaced(alpha_bar: Tensor, steps: int) -> list[int]:
    """`steps` training steps, evenly spaced and rising, from the first to the last: guided-diffusion's respacing in one
    section, but for a single step, which here is the last. Raises UserError for more than there are."""
    require_steps(steps, alpha_bar)
    last = len(alpha_bar) - 1
    if steps == 1:
        return [last]
    return [round(step) for step in accumulate(repeat(last / (steps - 1), steps - 1), initial=0.0)]


def released_rows(alpha_bar: Tensor, steps: int, eta: float) -> list[Row]:
    """The subsampled table of CompVis' DDIM, which the public codes of PSLD and ReSample use, in rising order.

    Every (T // steps)-th training step, moved up by one; the last move ends at the level alpha_bar[0], not clean. So
    there are ceil(T / (T // steps)) rows, more than `steps` if that does not divide T. If the highest would leave the
    schedule, the levels are moved back by one and the timesteps are not: PSLD's way with steps = T, here with all.
    Raises UserError for more steps than the schedule has.
    """
    require_steps(steps, alpha_bar)
    timesteps = list(range(1, len(alpha_bar) + 1, len(alpha_bar) // steps))
    beyond = int(timesteps[-1] == len(alpha_bar))
    levels = [t - beyond for t in timesteps]
    stored = alpha_bar.float()  # the public codes keep the schedule in float32
    rows = table(stored, levels, eta, dtype=torch.float64, below=float(stored[0]))
    return [replace(row, t=t) for row, t in zip(rows, timesteps, strict=True)]


def ddim_rows(chain: Literal["paper", "released"], alpha_bar: Tensor, steps: int, eta: float) -> list[Row]:
    """The rising rows of latent DDIM samplers. "paper": evenly spaced levels, from the last training step down to a
    clean latent. "released": the public codes' table."""
    if chain == "released":
        return released_rows(alpha_bar, steps, eta)
    return table(alpha_bar, grid(alpha_bar, steps), eta, dtype=torch.float64)

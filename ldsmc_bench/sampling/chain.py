"""The reverse chain as data: which training step each move uses, and at what noise levels."""

from dataclasses import dataclass, replace
from itertools import accumulate, repeat

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError


@dataclass(frozen=True)
class Row:
    """A look ahead and a move: the network sees `t`, the latent sits at alpha_bar `a`, the move leads to `a_prev`."""

    t: int
    a: float
    a_prev: float
    sigma: float  # standard deviation of the move (DDIM)


@dataclass(frozen=True)
class Chain:
    """Moves k = K-1..0 lead from z_K to z_0; the moments of move k come from `rows[k + 1]`.

    `rows[0]`, where there is one, looks ahead from z_0 itself. `label_rows[k]` leads to the latent of label y_k.
    """

    moves: int  # K
    rows: dict[int, Row]
    label_rows: dict[int, Row]


def paper_chain(alpha_bar: Tensor, steps: int, eta: float) -> Chain:
    """z_k sits at the k-th of `steps` levels and z_0 is clean: alpha_bar_0 = 1, so that the last move has sigma 0.

    (LD-SMC, Eq. 1-2.) Steps are spaced evenly and end at the last training step, for any number of steps.
    """
    levels = grid(alpha_bar, steps)
    rows = dict(enumerate(table(alpha_bar, levels, eta, dtype=torch.float64), start=1))
    return Chain(steps, rows, label_rows={k: rows[k + 1] for k in range(1, steps)})


def released_chain(alpha_bar: Tensor, steps: int, eta: float) -> Chain:
    """The public code's loop: the first level is used twice, first with the timestep after the last one.

    Labels are therefore one step cleaner than the latents they are compared with, and z_0 keeps the noise of the
    first level. Tables are float32, computed in the public code's order.
    """
    levels = grid(alpha_bar, steps)
    rows = dict(enumerate(table(alpha_bar.float(), levels, eta, dtype=torch.float32)))
    first = replace(rows[steps - 1], t=rows[steps - 1].t + 1)
    return Chain(steps, rows | {steps: first}, label_rows={k: rows[k] for k in range(1, steps)})


CHAINS = {"paper": paper_chain, "released": released_chain}


def grid(alpha_bar: Tensor, steps: int) -> list[int]:
    """`steps` training steps, evenly spaced, the last one included, in rising order.

    Raises UserError where the schedule has fewer training steps than that.
    """
    _require(steps, alpha_bar)
    available = len(alpha_bar)
    return [round((i + 1) * available / steps) - 1 for i in range(steps)]


def spaced(alpha_bar: Tensor, steps: int) -> list[int]:
    """`steps` training steps, evenly spaced, the first and the last included, in rising order: guided-diffusion's
    respacing in one section, but for a single step, which here is the last and not the first.

    Raises UserError where the schedule has fewer training steps than that.
    """
    _require(steps, alpha_bar)
    last = len(alpha_bar) - 1
    if steps == 1:
        return [last]
    return [round(step) for step in accumulate(repeat(last / (steps - 1), steps - 1), initial=0.0)]


def table(alpha_bar: Tensor, levels: list[int], eta: float, *, dtype: torch.dtype, below: float = 1.0) -> list[Row]:
    """DDIM's rows (Song et al. 2021, Eq. 16) for rising `levels`; `below` is alpha_bar after the last move."""
    a = alpha_bar.to(dtype)[levels]
    a_prev = torch.cat([torch.tensor([below], dtype=dtype), a[:-1]])
    sigma = eta * torch.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
    return [Row(*values) for values in zip(levels, a.tolist(), a_prev.tolist(), sigma.tolist(), strict=True)]


def released_rows(alpha_bar: Tensor, steps: int, eta: float) -> list[Row]:
    """The subsampled table of CompVis' DDIM, which the public codes of PSLD and ReSample use, in rising order.

    Every (T // steps)-th training step, moved up by one; the last move ends at the level alpha_bar[0], not clean. So
    there are ceil(T / (T // steps)) rows, more than `steps` where that does not divide T. Where the highest would leave
    the schedule, the levels are moved back by one and the timesteps are not: PSLD's way with steps = T, here with all.
    Raises UserError where the schedule has fewer training steps than that.
    """
    _require(steps, alpha_bar)
    timesteps = list(range(1, len(alpha_bar) + 1, len(alpha_bar) // steps))
    beyond = int(timesteps[-1] == len(alpha_bar))
    levels = [t - beyond for t in timesteps]
    stored = alpha_bar.float()  # the public codes keep the schedule in float32
    rows = table(stored, levels, eta, dtype=torch.float64, below=float(stored[0]))
    return [replace(row, t=t) for row, t in zip(rows, timesteps, strict=True)]


def _require(steps: int, alpha_bar: Tensor) -> None:
    if not 1 <= steps <= len(alpha_bar):
        raise UserError(f"steps={steps}: the prior's schedule has {len(alpha_bar)} steps; choose 1 to {len(alpha_bar)}")

"""The reverse chain as data: the training step and the noise levels of each move."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError


@dataclass(frozen=True)
class Row:
    """A step of the chain: the network gets `t`, the latent is at alpha_bar `a`, and the move leads to `a_prev`."""

    t: int
    a: float
    a_prev: float
    sigma: float  # standard deviation of the move (DDIM)

    def mean(self, z: Tensor, z_0: Tensor) -> Tensor:
        """The mean of the move from `z` to the clean latent or prediction `z_0`."""
        eps = (z - self.a**0.5 * z_0) / (1 - self.a) ** 0.5
        return self.a_prev**0.5 * z_0 + max(0.0, 1 - self.a_prev - self.sigma**2) ** 0.5 * eps


@dataclass(frozen=True)
class Chain:
    """Moves k = K-1..0 lead from z_K to z_0; the moments of move k come from `rows[k + 1]`.

    `rows[0]`, if there is one, looks ahead from z_0 itself. `label_rows[k]` leads to the latent of label y_k.
    """

    moves: int  # K
    rows: dict[int, Row]
    label_rows: dict[int, Row]


def paper_chain(alpha_bar: Tensor, steps: int, eta: float) -> Chain:
    """z_k sits at the k-th of `steps` levels and z_0 is clean, so that the last move has sigma 0 (LD-SMC, Eq. 1-2)."""
    rows = dict(enumerate(table(alpha_bar, grid(alpha_bar, steps), eta, dtype=torch.float64), start=1))
    return Chain(steps, rows, label_rows={k: rows[k + 1] for k in range(1, steps)})


def released_chain(alpha_bar: Tensor, steps: int, eta: float) -> Chain:
    """The public code's loop: the first level is used twice, first with the timestep after the last one.

    Labels are therefore one step cleaner than the latents that they weigh, and z_0 keeps the noise of the first level.
    Tables are float32, computed in the public code's order.
    """
    rows = dict(enumerate(table(alpha_bar.float(), grid(alpha_bar, steps), eta, dtype=torch.float32)))
    first = replace(rows[steps - 1], t=rows[steps - 1].t + 1)
    return Chain(steps, rows | {steps: first}, label_rows={k: rows[k] for k in range(1, steps)})


CHAINS = {"paper": paper_chain, "released": released_chain}


def grid(alpha_bar: Tensor, steps: int) -> list[int]:
    """`steps` training steps, evenly spaced and rising, the last included. Raises UserError for more than there are."""
    require_steps(steps, alpha_bar)
    return [round((i + 1) * len(alpha_bar) / steps) - 1 for i in range(steps)]


def table(alpha_bar: Tensor, levels: list[int], eta: float, *, dtype: torch.dtype, below: float = 1.0) -> list[Row]:
    """DDIM's rows (Song et al. 2021, Eq. 16) for rising `levels`; `below` is alpha_bar after the last move."""
    a = alpha_bar.to(dtype)[levels]
    a_prev = torch.cat([torch.tensor([below], dtype=dtype), a[:-1]])
    sigma = eta * torch.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
    return [Row(*values) for values in zip(levels, a.tolist(), a_prev.tolist(), sigma.tolist(), strict=True)]


def require_steps(steps: int, alpha_bar: Tensor) -> None:
    """Raise UserError for more steps than the schedule has."""
    if not 1 <= steps <= len(alpha_bar):
        raise UserError(f"steps={steps}: the prior's schedule has {len(alpha_bar)} steps; choose 1 to {len(alpha_bar)}")

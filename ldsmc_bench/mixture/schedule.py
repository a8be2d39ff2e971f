"""The noise levels of priors that are known."""

import torch
from torch import Tensor


def karras(
    steps: int, sigma_min: float = 0.1, sigma_max: float = 100.0, *, rho: float = 7.0, substeps: int = 10
) -> Tensor:
    """alpha_bar (steps * substeps,) with every `substeps`-th level, up to the last, on the grid of Karras et al. (2022,
    Eq. 5): noise-to-signal ratios from `sigma_min` to `sigma_max`, even in their root of order `rho`.

    So `steps` evenly spaced steps of a sampler are exactly that grid, and the schedule is as fine as a trained one's.
    """
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    first, last = (low, high) if steps > 1 else (high, high)
    apart = (last - first) / max(1, steps - 1)
    place = torch.arange(1, steps * substeps + 1, dtype=torch.float64) / substeps - 1  # in steps; the first is at 0
    root = first + place * torch.where(place < 0, min(apart, first / 2) if steps > 1 else first / 2, apart)
    return 1 / (1 + root ** (2 * rho))

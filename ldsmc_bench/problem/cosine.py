"""Cosine transforms as matrices: mirrored borders make every filter here diagonal in one of them."""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dct1(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The discrete cosine transform of type 1, (size, size), which mirrors about the outermost samples.

    Scaled to be its own inverse, though not orthogonal: its first and last columns are half as large.
    """
    if size == 1:
        return torch.ones(1, 1, device=device, dtype=dtype)
    k = torch.arange(size, dtype=torch.float64)
    table = 2 * torch.cos(math.pi / (size - 1) * torch.outer(k, k))
    table[:, 0], table[:, -1] = table[:, 0] / 2, table[:, -1] / 2
    return (table / math.sqrt(2 * (size - 1))).to(device, dtype)


@lru_cache(maxsize=64)
def dct2(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The orthonormal discrete cosine transform of type 2, (size, size), which mirrors about the border between two
    samples; its transpose is its inverse."""
    k = torch.arange(size, dtype=torch.float64)
    table = math.sqrt(2 / size) * torch.cos(math.pi / size * torch.outer(k, k + 0.5))
    table[0] = table[0] / math.sqrt(2)
    return table.to(device, dtype)

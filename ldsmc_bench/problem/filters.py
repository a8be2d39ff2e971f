"""Filters with mirrored borders along the last axis, each with its true adjoint, and the cosines that diagonalise them.

The mirror is written with `flip` and `cat`, not with `torch.nn.functional.pad`, whose backward pass on a GPU adds in
an order that changes from run to run.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def pad(x: Tensor, radius: int, *, repeat_edge: bool) -> Tensor:
    """Mirror `radius` (< N) samples onto both ends of the last axis: (..., N) -> (..., N + 2 radius); about the border
    between two samples (NumPy's "symmetric") with `repeat_edge`, otherwise about the outermost sample ("reflect")."""
    if radius == 0:
        return x
    skip = 0 if repeat_edge else 1
    size = x.shape[-1]
    left = x[..., skip : skip + radius]
    right = x[..., size - skip - radius : size - skip]
    return torch.cat([left.flip(-1), x, right.flip(-1)], dim=-1)


def fold(y: Tensor, radius: int, *, repeat_edge: bool) -> Tensor:
    """The adjoint of `pad`, (..., N + 2 radius) -> (..., N): adds each margin to the samples it was copied from."""
    if radius == 0:
        return y
    skip = 0 if repeat_edge else 1
    size = y.shape[-1] - 2 * radius
    middle = y[..., radius : radius + size]
    from_left = F.pad(y[..., :radius].flip(-1), (skip, size - skip - radius))
    from_right = F.pad(y[..., -radius:].flip(-1), (size - skip - radius, skip))
    return middle + from_left + from_right


def correlate(x: Tensor, taps: Tensor, stride: int = 1) -> Tensor:
    """Correlate the rows of (B,C,H,N) with `taps` (k,), no padding: (B,C,H,(N-k)//stride+1)."""
    return F.conv2d(x, _per_channel(taps, x), stride=(1, stride), groups=x.shape[1])


def spread(y: Tensor, taps: Tensor, stride: int = 1) -> Tensor:
    """The adjoint of `correlate`: (B,C,H,M) -> (B,C,H,(M-1)*stride+k)."""
    return F.conv_transpose2d(y, _per_channel(taps, y), stride=(1, stride), groups=y.shape[1])


def _per_channel(taps: Tensor, x: Tensor) -> Tensor:
    return taps.expand(x.shape[1], 1, 1, -1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a table made in that mode would be of no use to autograd
def dct1(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The discrete cosine transform of type 1, (size, size), which mirrors about the outermost samples. Scaled to be
    its own inverse, though not orthogonal: its first and last columns are half as large."""
    if size == 1:
        return torch.ones(1, 1, device=device, dtype=dtype)
    k = torch.arange(size, dtype=torch.float64)
    table = 2 * torch.cos(math.pi / (size - 1) * torch.outer(k, k))
    table[:, 0], table[:, -1] = table[:, 0] / 2, table[:, -1] / 2
    return (table / math.sqrt(2 * (size - 1))).to(device, dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a table made in that mode would be of no use to autograd
def dct2(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The orthonormal discrete cosine transform of type 2, (size, size), which mirrors about the border between two
    samples; its transpose is its inverse."""
    k = torch.arange(size, dtype=torch.float64)
    table = math.sqrt(2 / size) * torch.cos(math.pi / size * torch.outer(k, k + 0.5))
    table[0] = table[0] / math.sqrt(2)
    return table.to(device, dtype)

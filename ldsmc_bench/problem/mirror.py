"""Mirrored borders and the filters that need them, along the last axis, each with its true adjoint.

The mirror is written with `flip` and `cat`, not with `torch.nn.functional.pad`, whose backward pass on a GPU adds in
an order that changes from run to run.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pad(x: Tensor, radius: int, *, repeat_edge: bool) -> Tensor:
    """Mirrors `radius` (< N) samples onto both ends of the last axis: (..., N) -> (..., N + 2 radius).

    `repeat_edge` mirrors about the border between two samples (NumPy's "symmetric"), otherwise about the outermost
    sample ("reflect").
    """
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
    """Correlates the rows of (B,C,H,N) with `taps` (k,), no padding: (B,C,H,(N-k)//stride+1)."""
    return F.conv2d(x, _per_channel(taps, x), stride=(1, stride), groups=x.shape[1])


def spread(y: Tensor, taps: Tensor, stride: int = 1) -> Tensor:
    """The adjoint of `correlate`: (B,C,H,M) -> (B,C,H,(M-1)*stride+k)."""
    return F.conv_transpose2d(y, _per_channel(taps, y), stride=(1, stride), groups=y.shape[1])


def _per_channel(taps: Tensor, x: Tensor) -> Tensor:
    return taps.expand(x.shape[1], 1, 1, -1)

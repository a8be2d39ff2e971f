"""The singular value decomposition of a linear operator, A = U diag(s) V^T, by functions instead of matrices."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Spectral:
    """A = U diag(s) V^T for a batch: in its basis the measurement y = A x + n is y_i = s_i x_i + n_i, entry by entry.

    Coefficients have the shape of images, (B,C,H,W). V is orthogonal on all of them: what is white in x is white in
    `vt(x)`, and the reverse. Where `s` is 0, or too small to count beside the largest in its dtype, x_i is not
    measured, and `ut(y)` holds nothing. The columns of U are orthonormal where s > 0: noise keeps its level in
    `ut(y)`. Values are in no order. All passes autograd; rows are those of the operator.

    V is unique up to signs and rotations, which machines choose differently: white noise that is drawn as an image,
    and taken to the basis by `vt`, leads to the same results on all of them.
    """

    s: Tensor  # (B,C,H,W), or (1,C,H,W) where all images share it; at least 0
    ut: Linear  # U^T y: (B,c,h,w) -> (B,C,H,W)
    u: Linear  # (B,C,H,W) -> (B,c,h,w)
    vt: Linear  # V^T x
    v: Linear


def without_negligible(s: Tensor, dtype: torch.dtype) -> Tensor:
    """Singular values (...,k) in `dtype`, 0 where they are below its rounding of the largest."""
    return torch.where(s > torch.finfo(dtype).eps * s.amax(-1, keepdim=True), s, 0.0).to(dtype)


def of_mask(mask: Tensor, shape: torch.Size) -> Spectral:
    """Of y = mask * x, mask (B,1,H,W) of ones and zeros: the pixels themselves."""
    return Spectral(mask.expand(-1, *shape), lambda y: mask * y, lambda c: mask * c, _same, _same)


def of_channels(weights: Tensor, shape: torch.Size) -> Spectral:
    """Of y = the weighted sum of the channels, weights (C,): an axis along them, and C - 1 that are not measured."""
    u, s, vh = (factor.to(weights) for factor in torch.linalg.svd(weights.double().cpu()[None]))
    others = (0, 0, 0, 0, 0, len(weights) - 1)
    return Spectral(
        F.pad(s.reshape(1, 1, 1, 1), others).expand(1, *shape),
        lambda y: F.pad(u[0, 0] * y, others),
        lambda c: u[0, 0] * c[:, :1],
        lambda x: torch.einsum("ij,bjhw->bihw", vh, x),
        lambda c: torch.einsum("ji,bjhw->bihw", vh, c),
    )


def of_axes(rows: Tensor, columns: Tensor, like: Tensor) -> Spectral:
    """Of y = R x C^T in every channel, for R (h,H) and C (w,W) in float64, h <= H and w <= W, by a dense one for each
    axis; for images like `like` (...,C,H,W)."""
    (u1, s1, v1), (u2, s2, v2) = (torch.linalg.svd(matrix.cpu()) for matrix in (rows, columns))
    (h, w), (height, width) = (len(s1), len(s2)), like.shape[-2:]
    unmeasured = (0, width - w, 0, height - h)
    s = F.pad(without_negligible(torch.outer(s1, s2).flatten(), like.dtype).reshape(h, w), unmeasured).to(like.device)
    u1, v1, u2, v2 = (factor.to(like) for factor in (u1, v1, u2, v2))
    return Spectral(
        s.expand(1, *like.shape[-3:]),
        lambda y: F.pad(u1.mT @ y @ u2, unmeasured),
        lambda c: u1 @ c[..., :h, :w] @ u2.mT,
        lambda x: v1 @ x @ v2.mT,
        lambda c: v1.mT @ c @ v2,
    )


def of_frequencies(gain: Tensor, shape: torch.Size) -> Spectral:
    """Of y whose frequencies are those of x times `gain` (B,1,H,W), Hermitian; images of `shape` (C,H,W).

    V^T is the Hartley transform, its own inverse, and U is V with the phases of the gain.
    """
    s = without_negligible(gain.abs().flatten(1), gain.real.dtype).reshape(gain.shape)
    phase = torch.where(s > 0, torch.sgn(gain), 0.0)

    def hartley(x: Tensor) -> Tensor:
        frequencies = torch.fft.fft2(x, norm="ortho")
        return frequencies.real - frequencies.imag

    return Spectral(
        s.expand(-1, *shape),
        lambda y: hartley(filtered(y, phase.conj())),
        lambda c: filtered(hartley(c), phase),
        hartley,
        hartley,
    )


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    """x (B,C,H,W) with its frequencies times `gain` (B,1,H,W), Hermitian."""
    y: Tensor = torch.fft.ifft2(gain * torch.fft.fft2(x)).real
    return y


def of_matrices(matrices: Tensor, rows: int, like: Tensor, shape: tuple[int, ...]) -> Spectral:
    """Of `matrices` (G,dy,dx), each for `rows` / G rows that follow each other, y of `shape`; images like `like`.

    V is completed from its first k = min(dy,dx) columns V_1 by a block reflection, so that nothing is larger than the
    matrices: Q = I - W M^-1 W^T with W = E - V_1 R takes the first k axes E to V_1 R. The orthogonal R makes
    M = I - E^T V_1 R symmetric, of eigenvalues 1 to 2, whatever V_1 is.
    """
    groups, image = len(matrices), like.shape[-3:]
    u, s, vh = torch.linalg.svd(matrices.double().cpu(), full_matrices=False)
    k, free = s.shape[-1], image.numel() - s.shape[-1]
    n, _, ph = torch.linalg.svd(vh[..., :k])
    turn = -n @ ph  # R
    first = torch.eye(k, image.numel(), dtype=s.dtype)  # E^T
    w = first - turn.mT @ vh  # W^T
    wm = torch.linalg.solve(w[..., :k], w)  # M^-1 W^T, as the first k rows of W are M
    s = F.pad(without_negligible(s, like.dtype).to(like.device), (0, free)).repeat_interleave(rows // groups, dim=0)
    u, turn, w, wm = (factor.to(like) for factor in (u, turn, w, wm))

    def grouped(x: Tensor) -> Tensor:
        return x.reshape(groups, -1, x[0].numel())

    def reflected(x: Tensor) -> Tensor:
        return x - x @ wm.mT @ w

    def turned(c: Tensor, turn: Tensor) -> Tensor:
        return torch.cat([c[..., :k] @ turn, c[..., k:]], dim=-1)

    return Spectral(
        s.reshape(-1, *image),
        lambda y: F.pad(grouped(y) @ u, (0, free)).reshape(-1, *image),
        lambda c: (grouped(c)[..., :k] @ u.mT).reshape(-1, *shape),
        lambda x: turned(reflected(grouped(x)), turn.mT).reshape(-1, *image),
        lambda c: reflected(turned(grouped(c), turn)).reshape(-1, *image),
    )


def _same(x: Tensor) -> Tensor:
    return x

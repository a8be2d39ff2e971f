"""Checks of a prior, a data set and an operator before a run begins: each may be the user's own."""

import math
import re
from contextlib import suppress

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.operators import Operator

FALSE_ADJOINT = 1e-3  # relative, in float32
FILE_NAME = re.compile(r"\w[\w.+-]{0,199}")


def require_prior(name: str, prior: Prior) -> None:
    """Raise UserError unless all of a prior is there, its schedule falls, and its digest is not empty."""
    if missing := [one for one in vars(Prior) if one[0] != "_" and not hasattr(prior, one)]:
        raise UserError(f"{name}: prior.load gives {type(prior).__name__}, without {', '.join(missing)}; add these")
    a = prior.alpha_bar
    if not (isinstance(a, Tensor) and a.ndim == 1 and a.min() > 0 and a.max() <= 1 and (a.diff() <= 0).all()):
        raise UserError(f"{name}: alpha_bar must be a tensor (T,) that falls, from 1 at most to above 0; mend it")
    if not prior.digest:
        raise UserError(f"{name}: its digest is empty; give a hash of its weights, which is part of a run's id")


def require_dataset(name: str, dataset: Dataset) -> None:
    """Raise UserError unless a data set has images, whose ids are different texts that can be names of files."""
    if not isinstance(dataset, Dataset):
        raise UserError(f"{name}: dataset.load gives {type(dataset).__name__}; return a Dataset")
    if wrong := [one for one in dataset.ids if not isinstance(one, str) or not FILE_NAME.fullmatch(one)]:
        raise UserError(f"{name}: the id {wrong[0]!r} must be a text of letters, digits, _ . + -, 200 at most")
    if len(set(dataset.ids)) < max(1, len(dataset.ids)):
        raise UserError(f"{name}: {'two images have one id' if dataset.ids else 'no images'}; mend its ids")


@torch.no_grad()
def require_adjoint(
    name: str, operator: Operator, shape: tuple[int, ...], noise: Noise, adjoint: str = "adjoint"
) -> None:
    """Raise UserError, in which the adjoint goes by `adjoint`, unless <A x, y> = <x, A^T y> for a random x, and both
    y = A x and a random y, where A is linear.

    The former product is |A x|^2, the latter about |A x||y| / sqrt(m) for m numbers: errors are relative to them.
    """
    if not operator.linear:
        return
    x = noise.normal("x", shape)
    ax = operator(x)
    for y, chance in ((ax, 1), (noise.normal("y", ax.shape[1:]), math.sqrt(ax.numel()))):
        back = operator.adjoint(y)
        if back.shape != x.shape:
            raise UserError(f"{name}: {adjoint} gives images of {tuple(back.shape[1:])} and not {shape}")
        expected = max(float(ax.double().norm() * y.double().norm()) / chance, 1e-12)
        error = float((ax.double() * y).sum() - (x.double() * back).sum()) / expected
        if not abs(error) < FALSE_ADJOINT:
            raise UserError(
                f"{name}: {adjoint} is not the adjoint of A (<Ax,y> and <x,A*y> differ by {abs(error):.1e} "
                "of them); use one with an exact adjoint"
            )


def look_for_gradient(name: str, operator: Operator, shape: tuple[int, ...]) -> None:
    """Warn where autograd does not lead from A(x) to x; a few samplers need no gradient."""
    followed = False
    with torch.enable_grad(), suppress(RuntimeError):  # as of numpy, for a tensor that wants a gradient
        followed = operator(torch.zeros(1, *shape, requires_grad=True)).requires_grad
    if not followed:
        warn(f"{name}: A(x) has no gradient, and most samplers take one; compute it from x by PyTorch, without numpy")

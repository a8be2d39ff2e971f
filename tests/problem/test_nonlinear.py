"""Nonlinear measurements of vectors against their definitions, entry by entry."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.mixture.nonlinear import Nonlinear, clip, phase, quantise
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.operators import Invertible

DX, DY = 8, 3
NOISE = Noise(0, ["a", "b"], "test")
MAKE: dict[str, Callable[..., Nonlinear]] = {
    "phase": phase,
    "clip": partial(clip, limit=3.0),
    "quantise": partial(quantise, bits=2, step=4.0),
    "sign": partial(quantise, bits=1, step=2.0),
}
BY_HAND: dict[str, Callable[[float], float]] = {
    "phase": abs,
    "clip": lambda u: max(-3.0, min(3.0, u)),
    "quantise": lambda u: -6.0 if u < -4 else -2.0 if u < 0 else 2.0 if u < 4 else 6.0,
    "sign": lambda u: -1.0 if u < 0 else 1.0,
}


def made(name: str) -> tuple[Nonlinear, Tensor]:
    operator = MAKE[name](1, Noise(0, ["a", "b"], "test"), dy=DY, channels=DX)
    x = 10 * torch.randn(2, DX, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return operator.to("cpu", torch.float64), x


@pytest.mark.parametrize("name", MAKE)
def test_each_entry_is_measured_by_its_definition(name: str) -> None:
    operator, x = made(name)
    inner = torch.einsum("bij,bj->bi", operator.inner.matrices, x[..., 0, 0])
    expected = torch.tensor([[BY_HAND[name](float(u)) for u in row] for row in inner], dtype=torch.float64)
    assert torch.allclose(operator(x)[:, 0, 0], expected)
    assert torch.equal(operator.select(torch.tensor([1, 1, 0]))(x[[1, 1, 0]]), operator(x)[[1, 1, 0]])


@pytest.mark.parametrize("name", MAKE)
def test_the_pseudo_inverse_is_a_right_inverse(name: str) -> None:
    operator, x = made(name)
    y = operator(x)
    assert isinstance(operator, Invertible)
    assert torch.allclose(operator(operator.pinv(y)), y)
    assert not operator.linear
    with pytest.raises(Unsupported, match=f"task={operator.task} is not linear"):
        operator.adjoint(y)


def test_gradients() -> None:
    """Of phase by its sign, of clip 0 beyond the limit; a quantiser lets that of A x through."""
    for name, slope in (("phase", Tensor.sign), ("clip", lambda u: (u.abs() < 3).double()), ("sign", torch.ones_like)):
        operator, x = made(name)
        (gradient,) = torch.autograd.grad(operator(x.requires_grad_()).sum(), x)
        expected = torch.einsum("bij,bi->bj", operator.inner.matrices, slope(operator.inner(x.detach())[:, 0, 0]))
        assert torch.allclose(gradient[..., 0, 0], expected)


REFUSED = [
    (partial(clip, limit=0.0), "task.operator.limit=0.0: must be above 0"),
    (partial(quantise, bits=0, step=1.0), "task.operator.bits=0: must be a whole number of 1 to 8"),
    (partial(quantise, bits=1, step=-1.0), "task.operator.step=-1.0: must be above 0"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_numbers_that_cannot_be_are_refused(make: Callable[..., Nonlinear], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(1, NOISE, dy=DY, channels=DX)

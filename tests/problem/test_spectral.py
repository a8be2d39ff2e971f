"""Singular value decompositions of the operators against dense matrices and the identities that define them."""

import pytest
import torch
from every_task import LINEAR, MASKS, TASKS, make, white
from torch import Tensor

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.operators import Operator, spectral
from ldsmc_bench.problem.separable import SuperResolution, bicubic_taps
from ldsmc_bench.problem.spectral import Spectral

CLOSED = [task for task in LINEAR if task != "motion_deblur"]


def close(computed: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(computed, expected, atol=tolerance, rtol=0)


def decomposed(operator: Operator, x: Tensor) -> Spectral:
    return spectral(operator, x, method="test")


def dense(operator: Operator, shape: tuple[int, ...]) -> Tensor:
    """The matrix of A for one image of `shape`, a pulse a column."""
    pulses = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, 1, *shape)
    return torch.stack([operator(pulse).flatten() for pulse in pulses], dim=1)


def vectors(matrices: Tensor, problems: list[int], shape: tuple[int, int, int]) -> Linear:
    return Linear(matrices, torch.ones(len(matrices)), torch.tensor(problems), shape)


@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize("task", CLOSED)
def test_the_factors_make_the_operator_and_its_adjoint(task: str, side: int) -> None:
    operator, x = make(task, side, images=3)
    factors, y = decomposed(operator, x), white(tuple(operator(x).shape), seed=1)
    close(factors.u(factors.s * factors.vt(x)), operator(x))
    close(factors.v(factors.s * factors.ut(y)), operator.adjoint(y))
    # V is orthogonal, U has orthonormal columns where something is measured, and ^T is the true adjoint.
    close(factors.v(factors.vt(x)), x)
    close(factors.vt(factors.v(x)), x)
    seen = (factors.s > 0).expand_as(x)
    close(factors.ut(factors.u(seen * x)), seen * x)
    close((factors.vt(x) * x).sum((1, 2, 3)), (x * factors.v(x)).sum((1, 2, 3)), 1e-8)
    close((factors.ut(y) * x).sum((1, 2, 3)), (y * factors.u(x)).sum((1, 2, 3)), 1e-8)


@pytest.mark.parametrize("task", ["box", *sorted(set(CLOSED) - set(MASKS))])
def test_singular_values_are_those_of_the_dense_matrix(task: str) -> None:
    operator, x = make(task, 8, images=1)
    values = decomposed(operator, x).s.expand_as(x).flatten().sort(descending=True).values
    expected = torch.linalg.svdvals(dense(operator, tuple(x.shape[1:])))
    close(values[: len(expected)], expected)
    assert (values[len(expected) :] == 0).all()


@pytest.mark.parametrize(("scale", "shape"), [(2, (16, 24)), (3, (24, 12))])
def test_super_resolution_of_oblong_images(scale: int, shape: tuple[int, int]) -> None:
    operator, x = SuperResolution(bicubic_taps(scale), scale), white((2, 3, *shape))
    factors = decomposed(operator, x)
    close(factors.u(factors.s * factors.vt(x)), operator(x))
    close(factors.v(factors.vt(x)), x)


@pytest.mark.parametrize("dy", [1, 3, 6, 9])  # fewer entries than x has, as many, and more
@pytest.mark.parametrize("index", [[0, 1], [0, 0, 1, 1], [0, 1, 1]])
def test_matrices_of_any_size_each_for_its_own_rows(dy: int, index: list[int]) -> None:
    operator = vectors(white((2, dy, 6), seed=dy), index, (6, 1, 1))
    x, y = white((len(index), 6, 1, 1)), white((len(index), 1, 1, dy))
    factors = decomposed(operator, x)
    close(factors.u(factors.s * factors.vt(x)), operator(x))
    close(factors.v(factors.s * factors.ut(y)), operator.adjoint(y))
    close(factors.v(factors.vt(x)), x)
    for row, problem in enumerate(index):
        expected = torch.linalg.svdvals(operator.matrices[problem])
        close(factors.s[row].flatten()[: len(expected)], expected)


@pytest.mark.parametrize("matrix", [torch.eye(2, 5), -torch.eye(2, 5), torch.eye(2, 5).flip(0, 1), torch.ones(2, 5)])
def test_matrices_whose_axes_are_those_of_the_image(matrix: Tensor) -> None:
    """Where a reflection would divide by zero, with the plain choice of signs; the last matrix has rank 1."""
    operator, x = vectors(matrix.double()[None], [0, 0], (5, 1, 1)), white((2, 5, 1, 1))
    factors = decomposed(operator, x)
    close(factors.u(factors.s * factors.vt(x)), operator(x))
    close(factors.v(factors.vt(x)), x)
    assert int((factors.s[0] > 0).sum()) == torch.linalg.matrix_rank(matrix)


def test_no_square_matrix_of_an_image_is_made() -> None:
    """Four numbers of an image of 3 x 128 x 128 have a V of 19 GB."""
    operator = tasks.linear(128, Noise(0, ["a"], "test"), dy=4, channels=3).to("cpu", torch.float64)
    x = white((1, 3, 128, 128))
    factors = decomposed(operator, x)
    close(factors.u(factors.s * factors.vt(x)), operator(x))
    close(factors.vt(x).norm(), x.norm(), 1e-8)


@pytest.mark.parametrize("task", CLOSED)
def test_single_precision_drops_what_it_cannot_hold(task: str) -> None:
    operator, x = make(task, 64)
    single = operator.to("cpu", torch.float32)
    factors = decomposed(single, x.float())
    assert factors.s.dtype == factors.vt(x.float()).dtype == torch.float32
    close(factors.u(factors.s * factors.vt(x.float())).double(), operator(x), 1e-5)
    assert factors.s[factors.s > 0].min() >= 1e-7 * factors.s.max()


def test_others_have_none() -> None:
    reasons = {}
    for task in TASKS:
        operator, x = make(task, 16)
        if task not in CLOSED:
            with pytest.raises(Unsupported, match="test: needs singular values, and this task's operator") as refused:
                decomposed(operator, x)
            reasons[task] = str(refused.value).split("operator ")[1]
    curved, open_ = "is not linear", "has none in closed form"
    assert reasons == {"motion_deblur": open_} | dict.fromkeys(
        ("hdr", "phase_retrieval", "phase", "clip", "quantise"), curved
    )

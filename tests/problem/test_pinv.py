"""Pseudo-inverses against dense matrices and the equations that define them."""

import pytest
import torch
from every_task import LINEAR, TASKS, make, white
from torch import Tensor

from ldsmc_bench.problem import kernels
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.operators import Invertible, Operator
from ldsmc_bench.problem.separable import LOST, SeparableBlur, SuperResolution, bicubic_taps


def dense(operator: Operator, shape: tuple[int, ...]) -> Tensor:
    """The matrix of A for one image of `shape`, a pulse a column."""
    pulses = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([operator(pulse[None])[0].flatten() for pulse in pulses], dim=1)


def close(computed: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(computed, expected, atol=tolerance, rtol=0)


def test_only_phase_retrieval_has_none() -> None:
    assert [task for task in TASKS if not isinstance(make(task, 32)[0], Invertible)] == ["phase_retrieval"]


@pytest.mark.parametrize("task", [task for task in LINEAR if task != "motion_deblur"])
def test_dense_pseudo_inverse(task: str) -> None:
    """At 16 pixels even the Gaussian blur keeps enough of every frequency to be inverted exactly."""
    operator, x = make(task, 16, images=1)
    matrix = dense(operator, x.shape[1:])
    y = operator(x)
    assert isinstance(operator, Invertible)
    close(operator.pinv(y).flatten(), torch.linalg.pinv(matrix) @ y.flatten())


@pytest.mark.parametrize("task", LINEAR)
def test_dense_regularised_inverse(task: str) -> None:
    operator, x = make(task, 16, images=1)
    matrix, delta = dense(operator, x.shape[1:]), 0.3
    y = white(tuple(operator(x).shape), seed=3)
    # A mirrored symmetric blur is its own adjoint where the border counts half; the others have the plain adjoint.
    adjoint = matrix if task == "gaussian_deblur" else matrix.T
    expected = torch.linalg.solve(
        adjoint @ matrix + delta * torch.eye(x.numel(), dtype=torch.float64), adjoint @ y.flatten()
    )
    assert isinstance(operator, Invertible)
    close(operator.pinv(y, delta).flatten(), expected, 1e-5 if task == "motion_deblur" else 1e-9)


def test_a_wide_blur_is_inverted_as_far_as_it_keeps_anything() -> None:
    operator = SeparableBlur(kernels.gaussian_taps(256, 1.0))
    x = white((1, 3, 24, 32))
    kept = operator.pinv(operator(x))  # a projection on the frequencies that are kept
    close(operator.pinv(operator(kept)), kept)
    assert 0.1 < float(kept.norm() / x.norm()) < 0.95  # neither all nor nothing
    gain = float(operator.pinv(white((1, 3, 24, 32))).norm() / white((1, 3, 24, 32)).norm())
    assert gain < 1.5 / LOST


def test_a_motion_blur_without_delta_is_regularised_as_documented() -> None:
    operator, x = make("motion_deblur", 32)
    assert isinstance(operator, Blur)
    y = operator(x)
    assert torch.equal(operator.pinv(y), operator.pinv(y, LOST**2))
    misfit = operator(operator.pinv(y)) - y
    assert float(misfit.norm() / y.norm()) < 0.1
    normal = operator.adjoint(misfit) + LOST**2 * operator.pinv(y)  # the gradient that vanishes at the minimum
    assert float(normal.norm() / operator.adjoint(y).norm()) < 2e-3


@pytest.mark.parametrize("task", LINEAR)
@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_rows_are_inverted_by_themselves_and_dtype_is_kept(task: str, delta: float) -> None:
    operator, x = make(task, 32, images=3)
    assert isinstance(operator, Invertible)
    y = operator(x) * torch.tensor([1.0, 0.0, 1e3], dtype=torch.float64).reshape(3, 1, 1, 1)  # a zero stops at once
    index = torch.tensor([2, 1, 1, 0])
    chosen = operator.select(index)
    assert isinstance(chosen, Invertible)
    close(chosen.pinv(y[index], delta) / 1e3, operator.pinv(y, delta)[index] / 1e3)
    single = operator.to("cpu", torch.float32)
    assert isinstance(single, Invertible) and single.pinv(y.float(), delta).dtype == torch.float32


@pytest.mark.parametrize("task", LINEAR)
def test_autograd_passes(task: str) -> None:
    """The derivative along a direction is the inverse of that direction, as pinv is linear."""
    operator, x = make(task, 32)
    assert isinstance(operator, Invertible)
    y = operator(x).requires_grad_()
    direction, weight = white(tuple(y.shape), seed=1), white(tuple(x.shape), seed=2)
    (gradient,) = torch.autograd.grad(operator.pinv(y, 0.05), y, weight)
    along = (operator.pinv(direction, 0.05) * weight).sum()
    scale = float(gradient.norm() * direction.norm())
    assert abs(float((gradient * direction).sum() - along)) < 1e-6 * scale


@pytest.mark.parametrize(("scale", "shape"), [(2, (16, 24)), (3, (24, 12)), (4, (24, 16))])
def test_super_resolution_of_oblong_images(scale: int, shape: tuple[int, int]) -> None:
    operator = SuperResolution(bicubic_taps(scale), scale)
    matrix = dense(operator, (1, *shape))
    y = white((1, 1, shape[0] // scale, shape[1] // scale))
    close(operator.pinv(y).flatten(), torch.linalg.pinv(matrix) @ y.flatten())
    gram = matrix @ matrix.T + 0.1 * torch.eye(len(matrix), dtype=torch.float64)
    close(operator.pinv(y, 0.1).flatten(), matrix.T @ torch.linalg.solve(gram, y.flatten()))

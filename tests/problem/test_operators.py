"""Operators against recorded reference outputs, dense matrices and the identities that define them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from every_task import LINEAR, MASKS, TASKS, make, white
from numpy.testing import assert_allclose
from safetensors.torch import load_file

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.blur import Blur
from ldsmc_bench.problem.operators import Invertible, Operator
from ldsmc_bench.problem.separable import SuperResolution, bicubic_taps

FIXTURES = Path(__file__).parents[1] / "fixtures/operators"
STROKES = {"strokes": (1, 3), "segments": (16, 32), "length": (10, 40), "width": (20, 21), "covered": (0.05, 0.5)}
BANDS = {"orientation": "vertical", "period": 32, "width": 8, "phase": "random"}
EXACT = [task for task in LINEAR if "deblur" not in task]  # whose pseudo-inverse is exact at any side
PER_IMAGE = ["box", "destripe", "destripe_random", "freeform", "random", "motion_deblur", "circular_deblur"]


@pytest.mark.parametrize("side", [32, 64, 256])
@pytest.mark.parametrize("task", LINEAR)
def test_adjoint_is_the_true_adjoint(task: str, side: int) -> None:
    operator, x = make(task, side)
    y = operator(x)
    other = white(tuple(y.shape), seed=1)
    left = (y * other).sum((1, 2, 3))  # image by image: an adjoint that mixed rows would hide in a sum over all
    right = (x * operator.adjoint(other)).sum((1, 2, 3))
    scale = y.norm() * other.norm()
    assert ((left - right).abs() / scale).max() < 1e-10


@pytest.mark.parametrize("task", LINEAR)
def test_autograd_agrees_with_the_adjoint(task: str) -> None:
    operator, x = make(task, 64)
    x.requires_grad_()
    y = operator(x)
    other = white(tuple(y.shape), seed=1)
    (gradient,) = torch.autograd.grad(y, x, other)
    assert_allclose(gradient, operator.adjoint(other), atol=1e-12)


@pytest.mark.parametrize("side", [32, 64, 256])
@pytest.mark.parametrize("task", EXACT)
def test_pinv_is_consistent_and_of_least_norm(task: str, side: int) -> None:
    operator, x = make(task, side)
    assert isinstance(operator, Invertible)
    y = operator(x)
    restored = operator.pinv(y)
    assert_allclose(operator(restored), y, atol=1e-10)
    # Moore-Penrose: what pinv leaves out lies in the null space, at a right angle to what it gives back.
    assert abs(((x - restored) * restored).sum() / x.norm() ** 2) < 1e-10


@pytest.mark.parametrize("shape", [(24, 24), (48, 24)])
@pytest.mark.parametrize("scale", [1, 2, 3, 6])
def test_super_resolution_by_any_factor_and_of_oblong_images(scale: int, shape: tuple[int, int]) -> None:
    operator = SuperResolution(bicubic_taps(scale), scale)
    x = white((2, 3, *shape))
    y = operator(x)
    assert y.shape == (2, 3, shape[0] // scale, shape[1] // scale)
    other = white(tuple(y.shape), seed=1)
    assert abs((y * other).sum() - (x * operator.adjoint(other)).sum()) < 1e-10
    assert_allclose(operator(operator.pinv(y)), y, atol=1e-10)
    assert_allclose(operator(torch.full_like(x, 0.3)), torch.full_like(y, 0.3), atol=1e-12)
    slope = torch.arange(shape[1], dtype=torch.float64).expand(1, 3, *shape)  # straight lines stay where they are
    inner = slice(2, -2)
    centres = (torch.arange(shape[1] // scale) + 0.5) * scale - 0.5
    assert_allclose(operator(slope)[0, 0, 0, inner], centres[inner], atol=1e-10)


@pytest.mark.parametrize("task", ["sr4", "sr8", "gaussian_deblur"])
def test_dense_matrix(task: str) -> None:
    """One axis written out sample by sample with NumPy's own padding; the operator is its Kronecker square."""
    side = 32
    operator, x = make(task, side, images=1)
    if task == "gaussian_deblur":
        offsets = np.arange(-2, 3)  # sigma 3 * 32/256 = 0.375, cut at 4 sigma: radius 2
        taps, stride, mode = np.exp(-0.5 * (offsets / 0.375) ** 2), 1, "reflect"
        pad = 2
    else:
        stride, mode = int(task[2:]), "symmetric"
        pad = 3 * stride // 2
        distance = np.abs(np.arange(-2 * stride, 2 * stride) + 0.5) / stride
        near, far = 1.5 * distance**3 - 2.5 * distance**2 + 1, -0.5 * (distance - 1) * (distance - 2) ** 2
        taps = np.where(distance < 1, near, far)
    taps = (taps / taps.sum()).astype(np.float32)  # operators are made in float32
    sources = np.pad(np.arange(side), pad, mode=mode)  # type: ignore[call-overload]
    matrix = np.zeros((side // stride, side))
    for row in range(side // stride):
        for tap, weight in enumerate(taps):
            matrix[row, sources[row * stride + tap]] += weight
    y = operator(x)
    assert_allclose(y, matrix @ x.numpy() @ matrix.T, atol=1e-12)
    assert_allclose(operator.adjoint(y), matrix.T @ y.numpy() @ matrix, atol=1e-12)
    if isinstance(operator, Invertible):
        inverse = np.linalg.pinv(matrix)
        assert_allclose(operator.pinv(y), inverse @ y.numpy() @ inverse.T, atol=1e-11)


def test_motion_blur_is_a_correlation_with_reflected_borders() -> None:
    kernels = white((2, 7, 7))
    x = white((2, 3, 20, 24), seed=1)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (3, 3), (3, 3)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(2, 3))
    assert_allclose(Blur(kernels)(x), np.einsum("bchwij,bij->bchw", windows, kernels.numpy()), atol=1e-12)


@pytest.mark.parametrize(
    ("task", "recorded", "every"),
    [
        ("sr4", "super_resolution_x4", 1),
        ("sr8", "super_resolution_x8", 1),
        ("gaussian_deblur", "gaussian_blur_61_3", 8),
        ("colorize", "colorization", 8),
        ("phase_retrieval", "phase_retrieval_oversample2", 8),
    ],
)
def test_reference_outputs_are_reproduced(task: str, recorded: str, every: int) -> None:
    """Every so many of their rows."""
    reference = load_file(FIXTURES / "operators_seed0.safetensors")
    rows = load_file(FIXTURES / "rows_seed0.safetensors") if every > 1 else reference
    operator = TASKS[task](256, Noise(0, ["a"], "test"))
    assert_allclose(operator(reference["x"])[:, :, ::every], rows[recorded], atol=1e-5)


def test_phase_retrieval_is_a_fourier_magnitude_that_tells_neither_sign_nor_turn() -> None:
    operator, x = make("phase_retrieval", 16)
    y = operator(x)
    framed = np.pad(x.numpy(), [(0, 0), (0, 0), (4, 4), (4, 4)])
    waves = np.exp(-2j * np.pi / 24 * np.outer(np.arange(24) - 12, np.arange(24)))  # the lowest frequency in the middle
    assert_allclose(y, np.abs(waves @ framed @ waves.T) / 24, atol=1e-12)
    assert_allclose(y.square().sum(), x.square().sum())  # orthonormal: magnitudes are as large as pixels
    assert_allclose(operator(-x), y, atol=1e-12)
    assert_allclose(operator(x.flip(-1, -2)), y, atol=1e-12)


def test_hdr_clips_what_is_bright_and_has_a_right_inverse() -> None:
    operator, _ = make("hdr", 16)
    x = torch.tensor([-0.9, -0.5, -0.2, 0.0, 0.3, 0.7]).double().expand(2, 3, 1, 6).requires_grad_()
    y = operator(x)
    assert_allclose(y.detach()[0, 0, 0], [-1, -1, -0.4, 0, 0.6, 1])
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope[0, 0, 0][[0, 2, 3, 4, 5]].tolist() == [0, 2, 2, 2, 0]
    assert isinstance(operator, Invertible)
    assert_allclose(operator(operator.pinv(y)).detach(), y.detach(), atol=1e-15)


@pytest.mark.parametrize("task", [task for task in TASKS if task not in LINEAR])
def test_a_non_linear_operator_says_that_it_has_no_adjoint(task: str) -> None:
    operator, x = make(task, 32)
    x, other = 10 * x, 10 * white(tuple(x.shape), seed=1)  # beyond every limit
    first, second = operator(x), operator(other)
    assert not torch.allclose(operator(x + other), first + second)
    with pytest.raises(Unsupported, match="not linear"):
        operator.adjoint(first)


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_independent_and_can_be_selected_or_repeated(task: str) -> None:
    operator, x = make(task, 32, images=3)
    index = torch.tensor([2, 0, 0, 1, 2])
    assert_allclose(operator.select(index)(x[index]), operator(x)[index], atol=1e-12)
    if operator.linear:
        y = operator(x)
        assert_allclose(operator.select(index).adjoint(y[index]), operator.adjoint(y)[index], atol=1e-12)


@pytest.mark.parametrize("task", PER_IMAGE)
def test_each_image_draws_its_own_operator(task: str) -> None:
    operator, _ = make(task, 64)
    pulse = torch.zeros(2, 3, 64, 64, dtype=torch.float64) + white((1, 3, 64, 64))
    first, second = operator(pulse)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(task: str, dtype: torch.dtype) -> None:
    operator, x = make(task, 32)
    y = operator.to("cpu", dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert not operator.linear or operator.to("cpu", dtype).adjoint(y).dtype == dtype
    assert_allclose(y, operator(x), atol=1e-5)


def test_only_masks_leave_pixels_unobserved() -> None:
    for task in TASKS:
        operator, x = make(task, 64)
        observed = operator.observed()
        if task in MASKS:
            assert observed is not None
            assert_allclose(operator(torch.ones_like(x)), observed.expand_as(x))
            assert set(observed.unique().tolist()) == {0.0, 1.0}
        else:
            assert observed is None


@pytest.mark.parametrize(
    ("task", "options", "key"),
    [
        (tasks.box, {"size": 250, "margin": 16}, "size"),
        (tasks.box, {"size": 0, "margin": 16}, "size"),
        (tasks.box, {"size": "big", "margin": 16}, "size"),
        (tasks.random, {"missing": 1.5}, "missing"),
        (tasks.gaussian_deblur, {"sigma": 0}, "sigma"),
        (tasks.gaussian_deblur, {"sigma": 100}, "sigma"),
        (tasks.motion_deblur, {"size": 300, "intensity": 0.5}, "size"),
        (tasks.motion_deblur, {"size": 61, "intensity": 0}, "intensity"),
        (tasks.super_resolution, {"scale": 5}, "scale"),
        (tasks.super_resolution, {"scale": 64}, "scale"),
        (tasks.super_resolution, {"scale": 4.0}, "scale"),
        (tasks.half, {"known": "middle"}, "known"),
        (tasks.destripe, BANDS | {"orientation": "diagonal"}, "orientation"),
        (tasks.destripe, BANDS | {"period": "wide"}, "period"),
        (tasks.destripe, BANDS | {"width": 32}, "width"),
        (tasks.destripe, BANDS | {"period": 8, "width": 7}, "width"),  # 2 of every 2 lines at 64 pixels
        (tasks.destripe, BANDS | {"phase": 1}, "phase"),
        (tasks.destripe, BANDS | {"phase": "any"}, "phase"),
        (tasks.destripe_random, {"orientation": "vertical", "width": (0, 9), "gap": (4, 33)}, "width"),
        (tasks.destripe_random, {"orientation": "vertical", "width": (1, 9), "gap": (4, 4)}, "gap"),
        (tasks.destripe_random, {"orientation": "vertical", "width": (1, 9), "gap": (1.5, 4)}, "gap"),
        (tasks.colorize, {"weights": (0.5, 0.5)}, "weights"),
        (tasks.colorize, {"weights": (0, 0, 0)}, "weights"),
        (tasks.hdr, {"gain": 0}, "gain"),
        (tasks.phase_retrieval, {"oversample": -1}, "oversample"),
        (tasks.phase_retrieval, {"oversample": "twice"}, "oversample"),
        (tasks.freeform, STROKES | {"width": (20,)}, "width"),
        (tasks.freeform, STROKES | {"length": (40, 10)}, "length"),
        (tasks.freeform, STROKES | {"covered": (0.98, 0.99)}, "covered"),
    ],
)
def test_impossible_options_are_named(task: Callable[..., Operator], options: dict[str, object], key: str) -> None:
    with pytest.raises(UserError, match=rf"^task\.operator\.{key}=.*must be"):
        task(64, Noise(0, ["a"], "test"), **options)

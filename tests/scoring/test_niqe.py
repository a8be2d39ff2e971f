"""No file of real parameters is here: the steps are compared with closed forms and a second, slow implementation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.stats import gennorm
from torch import Tensor

from ldsmc_bench.checkpoints.niqe import (
    NaturalImages,
    block_features,
    generalised_gaussian,
    half,
    load_parameters,
    luma,
    niqe,
    normalise,
)
from ldsmc_bench.errors import UserError

FILE = "niqe/niqe_pris_params.npz"


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """uint8 (1,3,200,300): structure of several scales with a little noise."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        torch.nn.functional.interpolate(
            torch.randn((1, 3, side, side), generator=generator), size=(200, 300), mode="bicubic"
        )
        for side in (5, 20, 80)
    ]
    noise = torch.randn((1, 3, 200, 300), generator=generator)
    return (128 + 30 * sum(layers, 0.1 * noise)).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def natural(standin_files: Path) -> NaturalImages:
    return load_parameters(standin_files / FILE)


def test_luma_of_grey_black_and_white_is_16_to_235_in_whole_numbers() -> None:
    image = torch.tensor([0, 255, 128], dtype=torch.uint8).expand(1, 3, 1, 3).clone()
    np.testing.assert_array_equal(luma(image), [[16, 235, 126]])  # 16 + 219 · 128/255 = 125.9
    primaries = (255 * torch.eye(3)).to(torch.uint8)[None, :, None, :]
    np.testing.assert_array_equal(luma(primaries), [[81, 145, 41]])  # ITU-R BT.601
    with pytest.raises(TypeError, match="8-bit"):
        luma(image.float())


@pytest.mark.parametrize(
    ("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 3.0, 3.0), (0.6, 1.0, 2.5), (4.0, 2.0, 0.7)]
)
def test_the_fit_finds_the_shape_and_widths_of_samples(shape: float, left: float, right: float) -> None:
    """A density c exp(-(|x|/width)^shape), with another width on each side of zero."""
    generator = np.random.default_rng(0)
    sizes = np.abs(gennorm.rvs(shape, size=200_000, random_state=generator))
    goes_left = generator.random(len(sizes)) < left / (left + right)
    found = generalised_gaussian(np.where(goes_left, -left * sizes, right * sizes))
    assert found == pytest.approx((shape, left, right), rel=0.02)


def test_a_normal_sample_has_shape_two_and_width_root_two() -> None:
    values = np.random.default_rng(1).normal(size=400_000)
    assert generalised_gaussian(values) == pytest.approx((2, math.sqrt(2), math.sqrt(2)), rel=0.02)


@pytest.mark.parametrize("values", [np.zeros(9), np.ones(9), -np.ones(9)])
def test_values_of_one_sign_have_no_widths(values: np.ndarray) -> None:
    shape, left, right = generalised_gaussian(values)
    assert np.isfinite(shape) and (np.isnan(left) or np.isnan(right))


@pytest.mark.parametrize("size", [(8, 8), (96, 192)])
def test_half_size_is_the_dense_matrix_of_the_stretched_cubic(size: tuple[int, int]) -> None:
    plane = np.random.default_rng(2).normal(size=size)
    rows, columns = (halving(side) for side in size)
    np.testing.assert_allclose(half(plane), rows @ plane @ columns.T, atol=1e-12)
    np.testing.assert_allclose(half(np.full(size, 7.0)), 7.0)


def halving(side: int) -> np.ndarray:
    """(side/2, side): MATLAB's imresize, written out: Keys' cubic at half its frequency, samples outside mirrored."""
    matrix = np.zeros((side // 2, side))
    for out in range(side // 2):
        centre = 2 * out + 0.5
        for i in range(2 * out - 4, 2 * out + 6):
            x = abs(i - centre) / 2
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0
            mirrored = -1 - i if i < 0 else 2 * side - 1 - i if i >= side else i
            matrix[out, mirrored] += weight
        matrix[out] /= matrix[out].sum()
    return matrix


def test_only_the_whole_blocks_of_the_upper_left_count(picture: Tensor) -> None:
    plane = luma(picture)
    features = block_features(plane)
    assert features.shape == (2 * 3, 36)
    changed = plane.copy()
    changed[192:], changed[:, 288:] = 0, 255
    np.testing.assert_array_equal(block_features(changed), features)
    assert block_features(plane[:95]).shape == (0, 36)
    corner = plane.copy()
    corner[115:175, 15:75] += 50  # inside the fourth block, far enough from the others
    changed_rows = np.abs(block_features(corner) - features).max(axis=1) > 1e-9
    np.testing.assert_array_equal(changed_rows, [False, False, False, True, False, False])


def test_the_score_is_that_of_a_slow_second_implementation(picture: Tensor, natural: NaturalImages) -> None:
    found = niqe(picture, natural)
    assert found == pytest.approx(slow(picture, natural), rel=1e-9)
    assert found is not None and found > 1


def slow(picture: Tensor, natural: NaturalImages) -> float:
    """Mittal et al. 2013 step by step: every sum over the window, every block, every shape written out."""
    red, green, blue = picture[0].numpy().astype(float)
    y = np.round((65.481 * red + 128.553 * green + 24.966 * blue) / 255 + 16)[:192, :288]
    gauss = np.array([[math.exp(-(a * a + b * b) / 2 / (7 / 6) ** 2) for a in range(-3, 4)] for b in range(-3, 4)])
    gauss /= gauss.sum()
    blocks: list[list[float]] = [[] for _ in range(6)]
    for side in (96, 48):
        padded = np.pad(y, 3, mode="edge")
        mean, square = np.zeros_like(y), np.zeros_like(y)
        for a in range(7):
            for b in range(7):
                window = padded[a : a + y.shape[0], b : b + y.shape[1]]
                mean += gauss[a, b] * window
                square += gauss[a, b] * window**2
        field = (y - mean) / (np.sqrt(np.abs(square - mean * mean)) + 1)
        for number in range(6):
            row, column = divmod(number, 3)
            block = field[row * side : row * side + side, column * side : column * side + side]
            alpha, left, right = slow_fit(block)
            blocks[number] += [alpha, (left + right) / 2]
            for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
                near = np.array([[block[i - down, (j - across) % side] for j in range(side)] for i in range(side)])
                alpha, left, right = slow_fit(block * near)
                blocks[number] += [alpha, (right - left) * math.gamma(2 / alpha) / math.gamma(1 / alpha), left, right]
        y = halving(y.shape[0]) @ y @ halving(y.shape[1]).T
    features = np.array(blocks)
    difference = features.mean(0) - natural.mean
    return float(np.sqrt(difference @ np.linalg.pinv((natural.cov + np.cov(features.T)) / 2) @ difference))


def slow_fit(values: np.ndarray) -> tuple[float, float, float]:
    left, right = math.sqrt((values[values < 0] ** 2).mean()), math.sqrt((values[values > 0] ** 2).mean())
    g = left / right
    target = np.abs(values).mean() ** 2 / (values**2).mean() * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    low, high = 0.2, 10.0  # the moments' ratio grows with the shape: bisection, then the nearest thousandth
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if moments_ratio(middle) < target else (low, middle)
    grid = [round(low, 3) + step / 1000 for step in (-1, 0, 1)]
    alpha = min(grid, key=lambda a: (moments_ratio(a) - target) ** 2)
    width = math.sqrt(math.gamma(1 / alpha) / math.gamma(3 / alpha))
    return alpha, left * width, right * width


def moments_ratio(shape: float) -> float:
    return math.gamma(2 / shape) ** 2 / (math.gamma(1 / shape) * math.gamma(3 / shape))


def test_noise_and_blur_are_less_natural_than_what_the_parameters_were_made_of(standin_files: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (192, 192)).astype(np.uint8)
    grey = torch.from_numpy(noise).expand(1, 3, -1, -1)
    blurred = torch.nn.functional.avg_pool2d(grey.float(), 5, stride=1, padding=2).to(torch.uint8)
    natural = load_parameters(standin_files / FILE)  # of noise like this
    kept, lost = niqe(grey, natural), niqe(blurred, natural)
    assert kept is not None and lost is not None and kept < lost / 3


def test_a_flat_block_is_left_out_and_a_flat_image_has_no_score(picture: Tensor, natural: NaturalImages) -> None:
    one_flat = picture.clone()
    one_flat[..., 90:, 186:] = 100  # the last block and what its pixels see
    features = block_features(luma(one_flat))
    assert np.isnan(features[5]).any() and np.isfinite(features[:5]).all()
    score = niqe(one_flat, natural)
    assert score is not None and math.isfinite(score)
    flat = torch.full((1, 3, 192, 192), 90, dtype=torch.uint8)
    assert niqe(flat, natural) is None
    assert niqe(picture[..., :191, :100], natural) is None  # a single block has no covariance
    assert niqe(picture[..., :64, :64], natural) is None


def test_normalised_values_are_small_and_zero_where_nothing_changes() -> None:
    plane = np.full((20, 20), 50.0)
    np.testing.assert_allclose(normalise(plane), 0, atol=1e-12)
    plane[:, 10:] = 90
    field = normalise(plane)
    assert np.abs(field[:, :7]).max() < 1e-9 < np.abs(field[:, 9:11]).min() < 3


def test_both_files_are_read_by_their_keys(standin_files: Path, natural: NaturalImages, tmp_path: Path) -> None:
    path = tmp_path / "niqe_pris_params.npz"  # LIVE's file, put where the fetch command puts the other
    with path.open("wb") as file:
        savemat(file, {"mu_prisparam": natural.mean[None], "cov_prisparam": natural.cov})
    live = load_parameters(path)
    np.testing.assert_array_equal(live.mean, natural.mean)
    np.testing.assert_array_equal(live.cov, natural.cov)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"pop_mu": np.zeros(36), "pop_cov": np.eye(36)}, "not NIQE's parameters"),
        ({"mu_pris_param": np.zeros(18), "cov_pris_param": np.eye(36)}, "shape 36"),
        ({"mu_pris_param": np.zeros(36), "cov_pris_param": -np.eye(36)}, "covariance"),
        ({"mu_pris_param": np.zeros(36), "cov_pris_param": np.triu(np.ones((36, 36)))}, "covariance"),
        ({"mu_pris_param": np.full(36, np.nan), "cov_pris_param": np.eye(36)}, "not finite"),
    ],
)
def test_files_that_hold_no_gaussian_are_refused(arrays: dict[str, np.ndarray], match: str, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=match) as caught:
        load_parameters(path)
    assert "metric=niqe --force" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"", b"<html>" * 1000])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not NIQE's parameters"):
        load_parameters(path)

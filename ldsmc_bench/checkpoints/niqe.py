"""NIQE (Mittal et al. 2013): how far an image's local statistics are from those of natural images, without a truth.

Its parameters are fetched, never bundled. Luma, rounding, borders and half size are those of BasicSR's `calculate_niqe`
(1.4.2, `crop_border=0`, channel y), which LD-SMC's requirements name.
"""

import zipfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.ndimage import correlate1d
from scipy.special import gamma
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.separable import SuperResolution, bicubic_taps
from ldsmc_bench.scoring.paired import ImageMetric

BLOCK = 96  # pixels, at full size
FEATURES = 36
KEYS = (("mu_pris_param", "cov_pris_param"), ("mu_prisparam", "cov_prisparam"))  # BasicSR's .npz, LIVE's .mat

_HALF = SuperResolution(bicubic_taps(2), 2)
_WINDOW = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
_WINDOW /= _WINDOW.sum()


class NaturalImages(NamedTuple):
    """The Gaussian that blocks of undistorted images have in feature space: mean (36,), covariance (36, 36)."""

    mean: np.ndarray
    cov: np.ndarray


def metric(file: Path, device: torch.device) -> ImageMetric:
    """The metric `niqe`, computed on the CPU; it needs no truth."""
    natural = load_parameters(file)
    return lambda image, truth: niqe(image, natural)


def load_parameters(path: Path) -> NaturalImages:
    """From BasicSR's or LIVE's file, by its keys. Raises UserError where they are not there or make no Gaussian."""
    try:
        content: Any = np.load(path, allow_pickle=False) if zipfile.is_zipfile(path) else loadmat(path)
        keys = next(keys for keys in KEYS if set(keys) <= set(content))
        mean, cov = (np.asarray(content[key], dtype=np.float64) for key in keys)
        if mean.size != FEATURES or cov.shape != (FEATURES, FEATURES):
            raise ValueError(f"of shape 36 and 36x36, not {mean.size} and {cov.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
            raise ValueError("not finite")
        if not np.allclose(cov, cov.T) or np.linalg.eigvalsh(cov).min() < -1e-6 * np.trace(cov):
            raise ValueError("not a mean and a covariance")
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError, StopIteration) as error:
        wanted = " or ".join(" and ".join(keys) for keys in KEYS)
        remedy = "python -m ldsmc_bench fetch metric=niqe --force"
        raise UserError(f"{path}: not NIQE's parameters, which are {wanted} ({error}): {remedy}") from error
    return NaturalImages(mean.ravel(), cov)


def niqe(image: Tensor, natural: NaturalImages) -> float | None:
    """The score of one uint8 RGB image (1,3,H,W): the lower, the more natural.

    None where it has none: fewer than two 96x96 blocks, or fewer than two that are not flat. At 256x256 four blocks
    count, the upper left 192x192.
    """
    blocks = block_features(luma(image))
    whole = blocks[np.isfinite(blocks).all(axis=1)]
    if len(whole) < 2:
        return None
    difference = natural.mean - np.nanmean(blocks, axis=0)
    covariance = (natural.cov + np.cov(whole, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(covariance) @ difference))


def luma(image: Tensor) -> np.ndarray:
    """Y of YCbCr (ITU-R BT.601), 16 to 235, rounded, (H,W) float64, of a uint8 RGB image (1,3,H,W)."""
    if image.dtype != torch.uint8:
        raise TypeError(f"metrics are computed from 8-bit images, got {image.dtype}")
    red, green, blue = image[0].double().numpy() / 255
    return np.round(65.481 * red + 128.553 * green + 24.966 * blue + 16)


def block_features(plane: np.ndarray) -> np.ndarray:
    """Features (n, 36) of the n whole blocks of a plane (H,W) in 0..255, row by row; some NaN for a flat block."""
    rows, columns = (side // BLOCK for side in plane.shape)
    if not rows * columns:
        return np.empty((0, FEATURES))
    plane = plane[: rows * BLOCK, : columns * BLOCK]
    scales = []
    for scale in (1, 2):
        side = BLOCK // scale
        blocks = normalise(plane).reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
        scales.append([_features(block) for block in blocks])
        plane = half(plane)
    return np.concatenate(scales, axis=1)


def normalise(plane: np.ndarray) -> np.ndarray:
    """Each pixel less its neighbourhood's mean, over that one's standard deviation plus 1; borders repeated."""
    mean = _weighted(plane)
    return (plane - mean) / (np.sqrt(np.abs(_weighted(plane**2) - mean**2)) + 1)


def half(plane: np.ndarray) -> np.ndarray:
    """Half the size as by MATLAB's `imresize`: cubic, antialiased, border mirrored; neither rounded nor clipped."""
    return _HALF(torch.from_numpy(plane)[None, None])[0, 0].numpy()


def generalised_gaussian(values: np.ndarray) -> tuple[float, float, float]:
    """Shape and left and right width of an asymmetric generalised Gaussian, by its moments (Lasmar et al. 2009).

    NaN widths where all values have one sign or are zero.
    """
    left, right = (
        np.sqrt(np.mean(side**2)) if side.size else np.nan for side in (values[values < 0], values[values > 0])
    )
    squared = np.mean(values**2)
    ratio = left / right
    shares = np.mean(np.abs(values)) ** 2 / squared if squared else np.nan
    target = shares * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios, widths = _shapes()
    nearest = int(np.argmin((ratios - target) ** 2))  # the first one where the target is NaN, as in the public codes
    return float(shapes[nearest]), float(left * widths[nearest]), float(right * widths[nearest])


def _features(block: np.ndarray) -> list[float]:
    """18 numbers of one block: of its values, and of their products with four neighbours, the block seen as a torus."""
    shape, left, right = generalised_gaussian(block.ravel())
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = generalised_gaussian((block * np.roll(block, shift, axis=(0, 1))).ravel())
        features += [shape, (right - left) * float(gamma(2 / shape) / gamma(1 / shape)), left, right]
    return features


@cache
def _shapes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shapes that are tried, the moments' ratio that each has, and its width over its standard deviation."""
    shapes = np.arange(200, 10001) / 1000
    first, second, third = (gamma(k / shapes) for k in (1, 2, 3))
    return shapes, second**2 / (first * third), np.sqrt(first / third)


def _weighted(plane: np.ndarray) -> np.ndarray:
    return correlate1d(correlate1d(plane, _WINDOW, axis=0, mode="nearest"), _WINDOW, axis=1, mode="nearest")

"""Blur kernels. Lengths are in pixels of a 256-pixel side, as in the papers, and scale with the side."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from ldsmc_bench.problem.masks import REFERENCE_SIDE

_CANVAS = 122  # pixels: twice the published kernel, as there


def gaussian_taps(side: int, sigma: float) -> Tensor:
    """A Gaussian of `sigma`, cut at 4 sigma and normalised to sum 1: (2r+1,) float64. At 256 pixels and sigma 3 these
    25 taps are all that is not zero in the 61x61 kernel of DPS, ReSample and LD-SMC."""
    scaled = sigma * side / REFERENCE_SIDE
    radius = int(4 * scaled + 0.5)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / scaled) ** 2)
    return weights / weights.sum()


def motion(rng: np.random.Generator, side: int, *, size: float, intensity: float) -> NDArray[np.float32]:
    """The smear of a shaken camera: a (k,k) kernel, k odd, summing to 1 (DPS, ReSample: size 61, intensity 0.5).

    The camera walks in small steps along a heading that wobbles, the more so the larger `intensity` (0 to 1]. The
    path is drawn at least as large as for the published kernel, so that a small kernel looks like a large one reduced.
    """
    count = 2 * round((size * side / REFERENCE_SIDE - 1) / 2) + 1
    canvas = max(_CANVAS, 2 * count)
    diagonal = math.hypot(canvas, canvas)
    path = _walk(rng, diagonal, intensity)
    path = (path - path.mean()) * np.exp(1j * rng.uniform(0, math.pi)) + canvas / 2 * (1 + 1j)

    picture = Image.new("L", (canvas, canvas))
    ImageDraw.Draw(picture).line([(z.real, z.imag) for z in path], fill=255, width=int(diagonal / 150))
    picture = picture.filter(ImageFilter.GaussianBlur(int(0.01 * diagonal)))
    picture = picture.resize((count, count), Image.Resampling.LANCZOS)
    kernel = np.asarray(picture, dtype=np.float64)
    return (kernel / kernel.sum()).astype(np.float32)


def _walk(rng: np.random.Generator, diagonal: float, intensity: float) -> NDArray[np.complex128]:
    """The points of the path in the complex plane, from the origin."""
    longest = 0.75 * diagonal * (rng.uniform() + rng.uniform(0, intensity**2))
    steps: list[float] = []
    while sum(steps) < longest:
        step = rng.beta(1, 30) * (1.1 - intensity) * diagonal
        if step < longest:
            steps.append(step)

    widest = rng.uniform(0, intensity * math.pi)
    jitter = rng.beta(2, 20)  # the chance that the camera swings to the other side
    headings = [rng.uniform(-widest, widest)]
    for _ in steps[1:]:
        swing = -1 if rng.uniform() < jitter else 1
        heading = rng.triangular(0, intensity * widest, widest + 0.1)
        headings.append(swing * math.copysign(heading, headings[-1]))
    increments = np.array(steps) * np.exp(1j * np.array(headings))
    return np.concatenate([[0], np.cumsum(increments)])

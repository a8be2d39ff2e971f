"""The tasks: each draws the operators of a batch of images. `conf/task` names them and gives their numbers.

Every function takes `(image_size, noise)` and returns one operator for all images of `noise`; what differs between
images (mask, kernel) is drawn from the generators of those images. `image_size` is the side, or height and width. The
other arguments come from the task's configuration, lengths in pixels of a 256-pixel side, the shorter one of a
rectangle; a number that cannot work raises UserError.
"""

import math
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from typing import Any

import numpy as np
import torch

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import kernels, masks
from ldsmc_bench.problem.blur import Blur, CircularBlur
from ldsmc_bench.problem.linear import Linear, random_matrices
from ldsmc_bench.problem.masks import REFERENCE_SIDE, BoolArray, require, unusable
from ldsmc_bench.problem.operators import Grey, Identity, Mask, Overexposed, PhaseRetrieval
from ldsmc_bench.problem.pictures import Size, sides
from ldsmc_bench.problem.separable import SeparableBlur, SuperResolution, bicubic_taps


def _inpainting(draw: Callable[..., BoolArray]) -> Callable[..., Mask]:
    """The task of a mask that `draw(rng, side, ...)` draws for each image."""

    def task(image_size: Size, noise: Noise, **numbers: Any) -> Mask:
        height, width = sides(image_size)
        drawn = [draw(rng, side := max(height, width), **numbers) for rng in noise.numpy("mask")]
        if height != width:  # the mask of a square, pressed
            rows, columns = (np.arange(length) * side // length for length in (height, width))
            drawn = [mask[rows][:, columns] for mask in drawn]
        return Mask(torch.from_numpy(np.stack(drawn)).unsqueeze(1).float())

    own = [p for p in signature(draw).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    task.__signature__ = Signature([*signature(task).parameters.values()][:2] + own)  # type: ignore[attr-defined]
    task.__name__, task.__qualname__, task.__doc__ = draw.__name__, draw.__name__, draw.__doc__
    return task


box = _inpainting(masks.box)
freeform = _inpainting(masks.freeform)
random = _inpainting(masks.random)
half = _inpainting(masks.half)
destripe = _inpainting(masks.destripe)
destripe_random = _inpainting(masks.destripe_random)


def gaussian_deblur(image_size: Size, noise: Noise, *, sigma: float) -> SeparableBlur:
    """The same Gaussian blur of standard deviation `sigma` for all images."""
    fits = f"above 0 and below {REFERENCE_SIDE // 4}"
    side = min(sides(image_size))
    scale = side / REFERENCE_SIDE
    require("sigma", sigma, fits, lambda std: std > 0 and int(4 * std * scale + 0.5) < side)
    return SeparableBlur(kernels.gaussian_taps(side, sigma).float())


def motion_deblur(image_size: Size, noise: Noise, *, size: float, intensity: float) -> Blur:
    """A shaken camera, another path for each image."""
    most = REFERENCE_SIDE
    require("size", size, f"at least 3 and below {most}", lambda number: 3 <= number < most)
    require("intensity", intensity, "above 0 and at most 1", lambda number: 0 < number <= 1)
    side = min(sides(image_size))
    drawn = [kernels.motion(rng, side, size=size, intensity=intensity) for rng in noise.numpy("kernel")]
    return Blur(torch.from_numpy(np.stack(drawn)))


def circular_deblur(image_size: Size, noise: Noise, *, size: float, intensity: float) -> CircularBlur:
    """The kernels of `motion_deblur` on images that go on from their opposite borders."""
    return CircularBlur(motion_deblur(image_size, noise, size=size, intensity=intensity).kernels)


def super_resolution(image_size: Size, noise: Noise, *, scale: int) -> SuperResolution:
    """Antialiased bicubic reduction by `scale` along each side."""
    unfit = not isinstance(scale, int) or scale < 1
    if unfit or any(side % scale or side < 2 * scale for side in sides(image_size)):
        raise unusable("scale", scale, f"a whole factor of the image size {image_size}, at most half of it")
    return SuperResolution(bicubic_taps(scale).float(), scale)


def denoise(image_size: Size, noise: Noise) -> Identity:
    """Nothing but noise."""
    return Identity()


def colorize(image_size: Size, noise: Noise, *, weights: Sequence[float]) -> Grey:
    """The grey picture that weighs red, green and blue by `weights`."""
    require("weights", weights, "three numbers, not all 0", lambda three: len(three) == 3 and sum(map(abs, three)) > 0)
    return Grey(torch.tensor(weights, dtype=torch.float32))


def hdr(image_size: Size, noise: Noise, *, gain: float) -> Overexposed:
    """High dynamic range: a picture exposed `gain` times too long, clipped to [-1,1]."""
    require("gain", gain, "above 0", lambda number: number > 0)
    return Overexposed(gain)


def phase_retrieval(image_size: Size, noise: Noise, *, oversample: float) -> PhaseRetrieval:
    """Fourier magnitudes of the image in a frame of zeros, `oversample` / 8 of its side wide."""
    require("oversample", oversample, "from 0 to 8", lambda number: 0 <= number <= 8)
    return PhaseRetrieval(int(oversample / 8 * min(sides(image_size))))


def linear(image_size: Size, noise: Noise, *, dy: int, channels: int) -> Linear:
    """`dy` numbers, each a random linear combination of all pixels of an image, or of all entries of a vector, which is
    an image of one pixel and many channels (Cardoso et al. 2024, MCGdiff). The noise's level is drawn too: uniform, up
    to the largest singular value."""
    shape = (channels, *sides(image_size))
    if not isinstance(dy, int) or not 1 <= dy <= (dx := math.prod(shape)):
        raise unusable("dy", dy, f"a whole number of 1 to {math.prod(shape)}, the entries of what is measured")
    matrices = random_matrices(noise, dy, dx)
    norms = torch.linalg.matrix_norm(matrices, ord=2)
    return Linear(matrices, noise.uniform("noise level", ()).float() * norms, torch.arange(len(matrices)), shape)

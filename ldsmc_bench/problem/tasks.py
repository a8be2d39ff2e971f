"""The tasks: each makes the operators of a batch of images. `conf/task` names them and gives their numbers.

Every function takes `(image_size, noise)` and returns one operator for all images of `noise`; what differs between
images (mask, kernel) is drawn from the generators of those images. The other arguments come from the task's
configuration, lengths in pixels of a 256-pixel side; a number that cannot work raises UserError.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import kernels, masks
from ldsmc_bench.problem.blur import Blur, SeparableBlur
from ldsmc_bench.problem.operators import Identity, Mask
from ldsmc_bench.problem.super_resolution import SuperResolution, bicubic_taps


def box(image_size: int, noise: Noise, *, size: float, margin: float) -> Mask:
    """Inpainting of one square of `size` pixels, at least `margin` from the border."""
    _require_numbers(size=size, margin=margin)
    try:
        return _mask([masks.box(rng, image_size, size=size, margin=margin) for rng in noise.numpy("mask")])
    except ValueError as error:
        raise _unusable("size", size, f"a hole that fits: {error}") from error


def freeform(
    image_size: int,
    noise: Noise,
    *,
    strokes: tuple[int, int],
    segments: tuple[int, int],
    length: tuple[int, int],
    width: tuple[int, int],
    covered: tuple[float, float],
) -> Mask:
    """Inpainting of wandering brush strokes; the arguments are those of `masks.free_form`."""
    _require_ranges(strokes=strokes, segments=segments, length=length, width=width, covered=covered)
    try:
        holes = [
            masks.free_form(
                rng, image_size, strokes=strokes, segments=segments, length=length, width=width, covered=covered
            )
            for rng in noise.numpy("mask")
        ]
    except ValueError as error:
        raise _unusable("covered", covered, f"wider: {error}") from error
    return _mask(holes)


def random(image_size: int, noise: Noise, *, missing: float) -> Mask:
    """Inpainting of scattered pixels; `missing` is their fraction."""
    _require_numbers(missing=missing)
    if not 0 <= missing < 1:
        raise _unusable("missing", missing, "a fraction from 0 to less than 1")
    return _mask([masks.random(rng, image_size, missing=missing) for rng in noise.numpy("mask")])


def gaussian_deblur(image_size: int, noise: Noise, *, sigma: float) -> SeparableBlur:
    """The same Gaussian blur of standard deviation `sigma` for all images."""
    _require_numbers(sigma=sigma)
    if not (sigma > 0 and int(4 * sigma * image_size / masks.REFERENCE_SIDE + 0.5) < image_size):
        raise _unusable("sigma", sigma, f"above 0 and below {masks.REFERENCE_SIDE // 4}")
    return SeparableBlur(kernels.gaussian_taps(image_size, sigma).float())


def motion_deblur(image_size: int, noise: Noise, *, size: float, intensity: float) -> Blur:
    """A shaken camera, another path for each image."""
    _require_numbers(size=size, intensity=intensity)
    if not 3 <= size < masks.REFERENCE_SIDE:
        raise _unusable("size", size, f"at least 3 and below {masks.REFERENCE_SIDE}")
    if not 0 < intensity <= 1:
        raise _unusable("intensity", intensity, "above 0 and at most 1")
    drawn = [kernels.motion(rng, image_size, size=size, intensity=intensity) for rng in noise.numpy("kernel")]
    return Blur(torch.from_numpy(np.stack(drawn)))


def super_resolution(image_size: int, noise: Noise, *, scale: int) -> SuperResolution:
    """Antialiased bicubic reduction by `scale` along each side."""
    if not isinstance(scale, int) or scale < 1 or image_size % scale or image_size < 2 * scale:
        raise _unusable("scale", scale, f"a whole factor of the image size {image_size}, at most half of it")
    return SuperResolution(scale, bicubic_taps(scale).float())


def denoise(image_size: int, noise: Noise) -> Identity:
    """Nothing but noise."""
    return Identity()


def _mask(drawn: Sequence[masks.BoolArray]) -> Mask:
    return Mask(torch.from_numpy(np.stack(drawn)).unsqueeze(1).float())


def _require_numbers(**values: object) -> None:
    for key, value in values.items():
        if not isinstance(value, int | float):
            raise _unusable(key, value, "a number")


def _require_ranges(**values: Sequence[float]) -> None:
    for key, value in values.items():
        if not (isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, int | float) for end in value)):
            raise _unusable(key, value, "two numbers [low, high)")
        if not 0 <= value[0] < value[1]:
            raise _unusable(key, value, "a range [low, high) with 0 <= low < high")


def _unusable(key: str, value: object, remedy: str) -> UserError:
    return UserError(f"task.operator.{key}={value}: must be {remedy}")

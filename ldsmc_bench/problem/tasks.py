"""The tasks: each makes the operators of a batch of images. `conf/task` names them and gives their numbers.

Every function takes `(image_size, noise)` and returns one operator for all images of `noise`; what differs between
images (mask, kernel) is drawn from the generators of those images. The other arguments come from the task's
configuration, lengths in pixels of a 256-pixel side; a number that cannot work raises UserError.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import kernels, masks
from ldsmc_bench.problem.blur import Blur, SeparableBlur
from ldsmc_bench.problem.colour import Grey
from ldsmc_bench.problem.linear import Linear, random_matrices
from ldsmc_bench.problem.nonlinear import Overexposed, PhaseRetrieval
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


def half(image_size: int, noise: Noise, *, known: str) -> Mask:
    """Inpainting of one half; `known` is the other: left, right, top or bottom."""
    _require_choice("known", known, ("left", "right", "top", "bottom"))
    return _mask([masks.half(image_size, known=known)] * len(noise.image_ids))


def destripe(
    image_size: int, noise: Noise, *, orientation: str, period: float, width: float, phase: float | str
) -> Mask:
    """Inpainting of stripes: of every `period` pixels `width` are missing, at the given phase.

    `phase` is a share of the period, from 0 to less than 1, or "random": another line for each image.
    """
    vertical = _vertical(orientation)
    _require_numbers(period=period, width=width)
    if not 0 < width < period <= masks.REFERENCE_SIDE:
        raise _unusable("width", width, f"above 0 and below period={period}, itself at most {masks.REFERENCE_SIDE}")
    if phase != "random" and not (isinstance(phase, int | float) and 0 <= phase < 1):
        raise _unusable("phase", phase, "a share of the period, from 0 to less than 1, or random")
    try:
        lines, _ = masks.stripe_lines(image_size, period=period, width=width)
    except ValueError as error:
        raise _unusable("width", width, f"smaller: {error}") from error
    starts = (rng.integers(lines) / lines if phase == "random" else float(phase) for rng in noise.numpy("mask"))
    return _mask(
        [masks.bands(image_size, vertical=vertical, period=period, width=width, phase=start) for start in starts]
    )


def destripe_random(
    image_size: int, noise: Noise, *, orientation: str, width: tuple[int, int], gap: tuple[int, int]
) -> Mask:
    """Inpainting of stripes of random widths at random distances; the arguments are those of `masks.stripes`."""
    vertical = _vertical(orientation)
    for key, value in (("width", width), ("gap", gap)):
        _require_ranges(**{key: value})
        if not (value[0] >= 1 and all(isinstance(end, int) for end in value)):
            raise _unusable(key, value, "whole numbers of at least 1")
    return _mask(
        [masks.stripes(rng, image_size, vertical=vertical, width=width, gap=gap) for rng in noise.numpy("mask")]
    )


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


def colorize(image_size: int, noise: Noise, *, weights: Sequence[float]) -> Grey:
    """The grey picture that weighs red, green and blue by `weights`."""
    numbers = isinstance(weights, Sequence) and all(isinstance(weight, int | float) for weight in weights)
    if not (numbers and len(weights) == 3 and any(weights)):
        raise _unusable("weights", weights, "three numbers, not all 0")
    return Grey(torch.tensor(weights, dtype=torch.float32))


def hdr(image_size: int, noise: Noise, *, gain: float) -> Overexposed:
    """High dynamic range: a picture exposed `gain` times too long, clipped to [-1,1]."""
    _require_numbers(gain=gain)
    if not gain > 0:
        raise _unusable("gain", gain, "above 0")
    return Overexposed(gain)


def phase_retrieval(image_size: int, noise: Noise, *, oversample: float) -> PhaseRetrieval:
    """Fourier magnitudes of the image in a frame of zeros, `oversample` / 8 of its side wide."""
    _require_numbers(oversample=oversample)
    if not 0 <= oversample <= 8:
        raise _unusable("oversample", oversample, "from 0 to 8")
    return PhaseRetrieval(int(oversample / 8 * image_size))


def linear(image_size: int, noise: Noise, *, dy: int, channels: int) -> Linear:
    """`dy` numbers, each a random linear combination of all pixels of an image, or of all entries of a vector, which is
    an image of one pixel and many channels. The noise's level is drawn too: uniform, up to the largest singular value.

    (Cardoso et al. 2024, MCGdiff.)
    """
    shape = (channels, image_size, image_size)
    if not isinstance(dy, int) or not 1 <= dy <= (dx := math.prod(shape)):
        raise _unusable("dy", dy, f"a whole number of 1 to {math.prod(shape)}, the entries of what is measured")
    matrices = random_matrices(noise, dy, dx)
    norms = torch.linalg.matrix_norm(matrices, ord=2)
    return Linear(matrices, noise.uniform("noise level", ()).float() * norms, torch.arange(len(matrices)), shape)


def _mask(drawn: Sequence[masks.BoolArray]) -> Mask:
    return Mask(torch.from_numpy(np.stack(drawn)).unsqueeze(1).float())


def _vertical(orientation: str) -> bool:
    _require_choice("orientation", orientation, ("vertical", "horizontal"))
    return orientation == "vertical"


def _require_choice(key: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise _unusable(key, value, " or ".join(choices))


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

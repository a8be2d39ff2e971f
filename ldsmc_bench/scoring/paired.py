"""Metrics of one image against its truth and its measurement, computed from the 8-bit image that is saved."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ldsmc_bench.problem.measurement import Measurement

ImageMetric = Callable[[Tensor, Tensor], float | None]  # of an image and its truth, uint8 (1,3,S,S); None: it has none


def paired_metrics(
    image: Tensor, truth: Tensor, measurement: Measurement, metrics: Mapping[str, ImageMetric]
) -> dict[str, float]:
    """`metrics` (see `image_metrics`) of one image by their names, where it has any, and `misfit`, if there is noise.

    `image` and `truth` are uint8 (1,3,S,S): an image by itself has the same bits whatever batch it came in.
    """
    values = compute_metrics(image, truth, metrics)
    return values | ({"misfit": misfit(image, measurement)} if measurement.noise_std > 0 else {})


def compute_metrics(image: Tensor, truth: Tensor, metrics: Mapping[str, ImageMetric]) -> dict[str, float]:
    """The metrics' values of one image, uint8 (1,3,S,S), where it has any."""
    values = {name: metric(image, truth) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if value is not None}


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images, peak 255; at most that of one value one grey level off."""
    error = (image.double() - truth.double()).square().sum().clamp(min=1.0)
    return 10 * math.log10(255**2 * image.numel() / float(error))


def ssim(image: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) of uint8 images (1, C, H, W): torchmetrics', window of std 1.5 px."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # seconds, which few commands need

    value = structural_similarity_index_measure(unit_range(image).double(), unit_range(truth).double(), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def misfit(image: Tensor, measurement: Measurement) -> float:
    """Root mean square of A(x) - y over the observed entries, divided by noise_std: 1 fits like noise.

    Rounding to 8 bits adds an error of std 0.0023 on the [-1, 1] scale: the best is a little above 1.
    """
    exact = measurement.to("cpu", torch.float64)
    residual = exact.operator(2 * unit_range(image).double() - 1) - exact.y
    observed = exact.operator.observed()
    weight = torch.ones_like(exact.y) if observed is None else observed.expand_as(exact.y)
    return math.sqrt(float((weight * residual.square()).sum() / weight.sum())) / float(measurement.noise_std)


def unit_range(images: Tensor) -> Tensor:
    """8-bit images, uint8 in 0..255, as float32 in [0, 1]. Raises TypeError for any other type."""
    if images.dtype != torch.uint8:
        raise TypeError(f"metrics are computed from 8-bit images, got {images.dtype}")
    return images.float() / 255

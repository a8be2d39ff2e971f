"""Metrics of one image against its truth and its measurement, computed from the 8-bit image that is saved."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.scoring.features import unit_range

ImageMetric = Callable[[Tensor, Tensor], float | None]  # of an image and its truth, uint8 (1,3,S,S); None: it has none


def paired_metrics(
    images: Tensor, truths: Tensor, measurement: Measurement, metrics: Mapping[str, ImageMetric]
) -> list[dict[str, float]]:
    """One row for each image: `metrics` (see `image_metrics`) by their names, and `misfit`.

    `images` and `truths` are uint8 (B, 3, S, S), row by row those of `measurement`. Every row is computed by itself, so
    that it has the same bits whatever batch it came in. Left out are the misfit without noise, and what an image has
    no value of.
    """
    rows = []
    for i in range(len(images)):
        row = compared(images[i : i + 1], truths[i : i + 1], metrics)
        own = measurement.select(torch.tensor([i]))
        if own.noise_std > 0:
            row["misfit"] = misfit(images[i : i + 1], own)
        rows.append(row)
    return rows


def compared(image: Tensor, truth: Tensor, metrics: Mapping[str, ImageMetric]) -> dict[str, float]:
    """The metrics' values of one image, uint8 (1,3,S,S), where it has any."""
    values = {name: metric(image, truth) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if value is not None}


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images, peak 255.

    Bounded by that of an image with a single value one grey level off, so that a perfect image has a finite number too.
    """
    error = (image.double() - truth.double()).square().sum().clamp(min=1.0)
    return 10 * math.log10(255**2 * image.numel() / float(error))


def ssim(image: Tensor, truth: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) of uint8 images (1, 3, H, W): torchmetrics', window of std 1.5 px."""
    value = structural_similarity_index_measure(unit_range(image).double(), unit_range(truth).double(), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def misfit(image: Tensor, measurement: Measurement) -> float:
    """Root mean square of A(x) - y over the observed entries, divided by noise_std: 1 fits like noise.

    An 8-bit image is rounded, which by itself adds an error of std 0.0023 on the [-1, 1] scale to every pixel: the best
    that can be had is a little above 1. Far below 1, the noise is fitted as if it were picture.
    """
    exact = measurement.to("cpu", torch.float64)
    residual = exact.operator(2 * unit_range(image).double() - 1) - exact.y
    observed = exact.operator.observed()
    weight = torch.ones_like(exact.y) if observed is None else observed.expand_as(exact.y)
    return math.sqrt(float((weight * residual.square()).sum() / weight.sum())) / float(measurement.noise_std)

"""Metrics of one image against its truth and its measurement, computed from the 8-bit image that is saved."""

import math

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.scoring.features import IMAGE_SIZE, FeatureNetwork, unit_range
from ldsmc_bench.scoring.perceptual import perceptual_distance


def paired_metrics(
    images: Tensor, truths: Tensor, measurement: Measurement, network: FeatureNetwork
) -> list[dict[str, float]]:
    """One row for each image: `psnr` (dB), `ssim`, `toyfaces_perceptual` and `misfit` (see the functions below).

    `images` and `truths` are uint8 (B, 3, S, S), row by row those of `measurement`. Every row is computed by itself, so
    that it has the same bits whatever batch it came in. Left out are the misfit without noise, and the perceptual
    distance where S is not 64, which its network takes.
    """
    rows = []
    for i in range(len(images)):
        image, truth = images[i : i + 1], truths[i : i + 1]
        row = {
            "psnr": psnr(image, truth),
            "ssim": ssim(image, truth),
        }
        if image.shape[-1] == IMAGE_SIZE:
            row["toyfaces_perceptual"] = float(perceptual_distance(network, unit_range(image), unit_range(truth)))
        if measurement.noise_std > 0:
            row["misfit"] = misfit(image, measurement.select(torch.tensor([i])))
        rows.append(row)
    return rows


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
    return math.sqrt(float((weight * residual.square()).sum() / weight.sum())) / measurement.noise_std

"""The feature network of toyfaces: an attribute classifier in place of Inception and VGG.

Its metrics are called `toyfaces_…`, never FID or LPIPS alone: numbers of different feature networks cannot be compared.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import file_digest
from ldsmc_bench.scoring.paired import ImageMetric, unit_range
from ldsmc_bench.scoring.reference import FeatureSpace
from ldsmc_bench.toyfaces.assets import ASSETS, check_digest, load, training_facts

WEIGHTS = ASSETS / "toyfaces_features.safetensors"
STATISTICS = ASSETS / "toyfaces_reference.safetensors"
DIMENSION = 64
WIDTHS = (32, 48, 96, 128, 160)


class FeatureNetwork(nn.Module):
    """Five convolutional stages, 64 px to 4 px, a feature vector of 64 numbers, and one linear head for each label.
    `labels` has the number of classes of each head; `digest` is the SHA-256 of the weights' file."""

    def __init__(self, labels: Mapping[str, int], digest: str = "untrained") -> None:
        super().__init__()
        self.labels = dict(labels)
        self.digest = digest
        # The first stage keeps the full size, where convolutions cost most: one is enough. Others halve it.
        self.stages = nn.ModuleList([_stage((3, WIDTHS[0], 1))])
        self.stages.extend(_stage((a, b, 2), (b, b, 1)) for a, b in pairwise(WIDTHS))
        self.bottleneck = nn.Linear(WIDTHS[-1] * 4 * 4, DIMENSION)
        self.heads = nn.ModuleDict({name: nn.Linear(DIMENSION, classes) for name, classes in labels.items()})

    def layers(self, x: Tensor) -> list[Tensor]:
        """The five stages' activations, (B, 32, 64, 64) to (B, 160, 4, 4), of images (B, 3, 64, 64) in [0, 1]."""
        activations = [2 * x - 1]
        for stage in self.stages:
            activations.append(stage(activations[-1]))
        return activations[1:]

    def features(self, x: Tensor) -> Tensor:
        """Feature vectors (B, 64) of images (B, 3, 64, 64) in [0, 1]."""
        return self.bottleneck(self.layers(x)[-1].flatten(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) of every label, of images (B, 3, 64, 64) in [0, 1]."""
        features = self.features(x)
        return {name: head(features) for name, head in self.heads.items()}


@lru_cache
def load_features(path: Path = WEIGHTS) -> FeatureNetwork:
    """The trained network, frozen, on the CPU in float32. Raises UserError for a missing or another file."""
    check_digest(path)
    try:
        labels = training_facts(path)["labels"]
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a toyfaces feature network; restore the file from the repository") from error
    return load(FeatureNetwork(labels, file_digest(path)), path)


def space(file: Path = WEIGHTS, device: torch.device | None = None) -> FeatureSpace:
    """Features for `toyfaces_fid` and `toyfaces_kid` of images of 64 pixels, on the CPU whatever the `device`."""
    network, shipped = load_features(file), {"toyfaces": STATISTICS}
    check_digest(STATISTICS)
    features = partial(features_of, network)
    return FeatureSpace("toyfaces_fid", "toyfaces_kid", DIMENSION, network.digest, features, shipped)


def features_of(network: FeatureNetwork, images: Iterable[Tensor]) -> np.ndarray:
    """Features (n, 64), float64, of uint8 images (n, 3, 64, 64)."""
    images = images if isinstance(images, Tensor) else torch.stack(list(images))
    with torch.no_grad():
        return torch.cat([network.features(unit_range(batch)) for batch in images.split(64)]).double().numpy()


def perceptual_metric(file: Path, device: torch.device) -> ImageMetric:
    """The metric `toyfaces_perceptual` of images of 64 pixels, on the CPU whatever the `device`; it is not LPIPS."""
    network = load_features(file)
    return lambda image, truth: float(perceptual_distance(network, unit_range(image), unit_range(truth)))


def perceptual_distance(network: FeatureNetwork, x: Tensor, reference: Tensor) -> Tensor:
    """The distance (B,) between images (B, 3, 64, 64) in [0, 1], from 0 (same activations) to at most 2.

    Zhang et al. 2018 (LPIPS), Eq. 1, with equal weights in place of learned ones: squared differences of the channels,
    scaled to unit length at each position, averaged over positions and the five stages.
    """
    pairs = zip(network.layers(x), network.layers(reference), strict=True)
    return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in pairs]).mean(0)


def _unit(activations: Tensor) -> Tensor:
    return activations / (activations.norm(dim=1, keepdim=True) + 1e-8)


def _stage(*convolutions: tuple[int, int, int]) -> nn.Sequential:
    """Convolutions with these channels in, channels out and strides, each normalised and rectified."""
    layers: list[nn.Module] = []
    for before, after, stride in convolutions:
        conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)

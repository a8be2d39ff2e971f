"""The feature network of toyfaces: an attribute classifier whose features and layers stand in for Inception and VGG.

Its metrics are called `toyfaces_…`, never FID or LPIPS alone: numbers of different feature networks cannot be compared.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.assets import ASSETS, check_digest, digest, load, made

WEIGHTS = ASSETS / "toyfaces_features.safetensors"
IMAGE_SIZE = 64
DIMENSION = 64
WIDTHS = (32, 48, 96, 128, 160)


class FeatureNetwork(nn.Module):
    """Five convolutional stages, 64 px to 4 px, a feature vector of 64 numbers, and one linear head for each label.

    In evaluation, as `load_features` returns it, an image's features do not depend on the other images in its batch.
    `labels` gives the number of classes of each head; `digest` is the sha256 of the file that the weights came from.
    """

    def __init__(self, labels: Mapping[str, int], digest: str = "untrained") -> None:
        super().__init__()
        self.labels = dict(labels)
        self.digest = digest
        inputs = (3, *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            _stage(a, b, first=i == 0) for i, (a, b) in enumerate(zip(inputs, WIDTHS, strict=True))
        )
        self.bottleneck = nn.Linear(WIDTHS[-1] * 4 * 4, DIMENSION)
        self.heads = nn.ModuleDict({name: nn.Linear(DIMENSION, classes) for name, classes in labels.items()})

    def layers(self, x: Tensor) -> list[Tensor]:
        """The five stages' activations, (B, 32, 64, 64) to (B, 160, 4, 4), of images (B, 3, 64, 64) in [0, 1]."""
        _check(x)
        activations = []
        x = 2 * x - 1
        for stage in self.stages:
            x = stage(x)
            activations.append(x)
        return activations

    def features(self, x: Tensor) -> Tensor:
        """Feature vectors (B, 64) of images (B, 3, 64, 64) in [0, 1]."""
        return self.bottleneck(self.layers(x)[-1].flatten(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes) of every label, of images (B, 3, 64, 64) in [0, 1]."""
        features = self.features(x)
        return {name: head(features) for name, head in self.heads.items()}


@lru_cache
def load_features(path: Path = WEIGHTS) -> FeatureNetwork:
    """The trained network, frozen, on the CPU in float32; the labels of its heads are read from the file.

    Raises UserError when the file is missing, is not the one that was shipped, or is not a feature network's.
    """
    check_digest(path)
    try:
        labels = made(path)["labels"]
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a toyfaces feature network; restore the file from the repository") from error
    return load(FeatureNetwork(labels, digest(path)), path)


def features_of(network: FeatureNetwork, images: Tensor) -> np.ndarray:
    """Features (n, 64), float64, of uint8 images (n, 3, 64, 64)."""
    with torch.no_grad():
        return torch.cat([network.features(unit_range(batch)) for batch in images.split(64)]).double().numpy()


def unit_range(images: Tensor) -> Tensor:
    """8-bit images, uint8 in 0..255, as float32 in [0, 1]. Raises TypeError for any other type."""
    if images.dtype != torch.uint8:
        raise TypeError(f"metrics are computed from 8-bit images, got {images.dtype}")
    return images.float() / 255


def _stage(channels_in: int, channels_out: int, *, first: bool) -> nn.Sequential:
    """Two convolutions, the first one halving the image; at full size, where they cost most, one is enough."""
    blocks = _block(channels_in, channels_out, stride=1 if first else 2)
    return nn.Sequential(*blocks) if first else nn.Sequential(*blocks, *_block(channels_out, channels_out, stride=1))


def _block(channels_in: int, channels_out: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]


def _check(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"the feature network takes images (B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}), got {tuple(x.shape)}")
    if x.numel() and not (x.min() >= 0 and x.max() <= 1):  # written so that NaN fails too
        raise ValueError(f"the feature network takes images in [0, 1], got {float(x.min()):g} to {float(x.max()):g}")

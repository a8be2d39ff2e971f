"""Where sets of images are compared: the features of one network, and the names of the metrics made of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench.scoring.features import DIMENSION, IMAGE_SIZE, FeatureNetwork, features_of, load_features
from ldsmc_bench.scoring.fetched import digest_of, file_of


@dataclass(frozen=True)
class FeatureSpace:
    """`features` of uint8 images (3,S,S) are (n, dimension) in float64; `digest` is that of the network's file."""

    fid: str
    kid: str
    dimension: int
    digest: str
    features: Callable[[Iterable[Tensor]], np.ndarray]


def space_for(side: int, device: torch.device) -> FeatureSpace | None:
    """toyfaces' at 64 pixels, clean-fid's at any other size; None where Inception was not fetched."""
    return toyfaces_space(load_features()) if side == IMAGE_SIZE else clean_space(device)


def toyfaces_space(network: FeatureNetwork) -> FeatureSpace:
    """`toyfaces_fid` and `toyfaces_kid`, of images of 64 pixels."""

    def features(images: Iterable[Tensor]) -> np.ndarray:
        return features_of(network, images if isinstance(images, Tensor) else torch.stack(list(images)))

    return FeatureSpace("toyfaces_fid", "toyfaces_kid", DIMENSION, network.digest, features)


def clean_space(device: torch.device) -> FeatureSpace | None:
    """`fid_clean` and `kid_clean`, of images of any size; None where Inception was not fetched."""
    path, digest = file_of("fid_clean"), digest_of("fid_clean")
    if path is None or digest is None:
        return None
    from ldsmc_bench.scoring import inception

    network = inception.load_inception(path, device)
    return FeatureSpace(
        "fid_clean",
        "kid_clean",
        inception.DIMENSION,
        digest,
        lambda images: inception.inception_features(network, images),
    )

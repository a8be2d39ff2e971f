"""Metrics of a finished run's images as a set, computed from the 8-bit images that are saved."""

from typing import Any

from torch import Tensor

from ldsmc_bench.scoring.features import DIMENSION, IMAGE_SIZE, FeatureNetwork
from ldsmc_bench.scoring.frechet import frechet_distance, frechet_se, moments
from ldsmc_bench.scoring.kid import kernel_distance, kernel_distance_se
from ldsmc_bench.scoring.reference import Reference, features_of

FEWEST = 3


def set_metrics(network: FeatureNetwork, images: Tensor, reference: Reference) -> dict[str, Any]:
    """`toyfaces_fid` and `toyfaces_kid` of uint8 images (n, 3, 64, 64), each with its bootstrap standard error `…_se`.

    With them what a reader needs to judge them: `n`, `reference`, `reference_n`, the network's digest, and a
    `warning` (None where there is nothing to warn of). With fewer than three images there is no set metric, and the
    keys of both are left out.
    """
    n, reference_n = len(images), len(reference.features)
    result: dict[str, Any] = {
        "n": n,
        "reference": reference.name,
        "reference_n": reference_n,
        "network": network.digest,
        "warning": _warning(n, reference_n),
    }
    if min(n, reference_n) < FEWEST:
        return result
    features = features_of(network, images)
    return result | {
        "toyfaces_fid": frechet_distance(*moments(features), reference.mean, reference.cov),
        "toyfaces_fid_se": frechet_se(features, reference.mean, reference.cov),
        "toyfaces_kid": kernel_distance(features, reference.features),
        "toyfaces_kid_se": kernel_distance_se(features, reference.features),
    }


def no_sets(side: int) -> str | None:
    """Why images of this side have no set metrics and no perceptual distance; None where they have."""
    if side == IMAGE_SIZE:
        return None
    return f"no toyfaces_... metrics at {side}x{side}: their network takes {IMAGE_SIZE}x{IMAGE_SIZE} images"


def _warning(n: int, reference_n: int) -> str | None:
    few = min(n, reference_n)
    if few < FEWEST:
        return f"a set metric needs at least {FEWEST} images on both sides, here are {few}"
    if few < DIMENSION:
        return f"{few} images are fewer than the {DIMENSION} feature dimensions: FID is biased upwards, trust KID more"
    return None

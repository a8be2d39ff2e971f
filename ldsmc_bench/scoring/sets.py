"""Metrics of a finished run's images as a set, computed from the 8-bit images that are saved."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ldsmc_bench.scoring.bootstrap import Estimate
from ldsmc_bench.scoring.frechet import frechet_estimate
from ldsmc_bench.scoring.kid import kernel_estimate
from ldsmc_bench.scoring.reference import Reference
from ldsmc_bench.scoring.spaces import FeatureSpace

FEWEST = 3


def set_metrics(space: FeatureSpace, images: Iterable[Tensor], reference: Reference) -> dict[str, Any]:
    """Fréchet and kernel distance of uint8 images (3,S,S) to the reference, by the names that `space` gives them.

    Each has its bootstrap standard error `…_se` and 95 % interval `…_low`, `…_high`. With them what a reader needs to
    judge them: `n`, `reference`, `reference_n`, the digests of the network and, where it has one, of the reference, and
    a `warning` (None where there is nothing to warn of). With fewer than three images there is no set metric, and the
    keys of both are left out.
    """
    features = space.features(images)
    n, reference_n = len(features), reference.n
    result: dict[str, Any] = {
        "n": n,
        "reference": reference.name,
        "reference_n": reference_n,
        "network": space.digest,
        "warning": few(n, reference_n, space.dimension),
    }
    if reference.digest:
        result["reference_digest"] = reference.digest
    if min(n, reference_n) < FEWEST:
        return result
    return (
        result
        | _named(space.fid, frechet_estimate(features, reference.mean, reference.cov))
        | _named(space.kid, kernel_estimate(features, reference.features))
    )


def _named(name: str, estimate: Estimate) -> dict[str, float]:
    return {
        name: estimate.value,
        f"{name}_se": estimate.se,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
    }


def few(n: int, reference_n: int, dimension: int) -> str | None:
    """What to warn of where there are few images on a side; None where there are enough."""
    fewer = min(n, reference_n)
    if fewer < FEWEST:
        return f"a set metric needs at least {FEWEST} images on both sides, here are {fewer}"
    if fewer < dimension:
        return (
            f"{fewer} images are fewer than the {dimension} feature dimensions: FID is biased upwards, trust KID more"
        )
    return None

"""Reference statistics: the features of the images that a run's set of images is compared with."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import cache_folder
from ldsmc_bench.scoring.distances import moments

TRUTHS = "the run's truths"
COMMAND = "python -m ldsmc_bench reference"


@dataclass(frozen=True)
class FeatureSpace:
    """The features of one network and the names of the set metrics computed from them."""

    fid: str
    kid: str
    dimension: int
    digest: str  # of the network's file
    features: Callable[[Iterable[Tensor]], np.ndarray]  # of uint8 images (3,S,S): (n, dimension) in float64
    shipped: Mapping[str, Path] = field(default_factory=dict)  # statistics in the package, by the data set's name


@dataclass(frozen=True)
class Reference:
    """A reference set of n images: mean and covariance of their features, and the features (m, D) of them or of some,
    in float64; the digests of the network and, where they were a folder's, of the pictures."""

    name: str
    features: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    network: str
    n: int
    digest: str | None = None


def make_reference(space: FeatureSpace, images: Iterable[Tensor], name: str) -> Reference:
    """The reference of these uint8 images (3,S,S), under a `name` for the summary."""
    features = space.features(images)
    return Reference(name, features, *moments(features), network=space.digest, n=len(features))


def find_reference(dataset: str, side: int, space: FeatureSpace) -> Reference | None:
    """The statistics that are shipped or cached for this data set at this size; None where there are none, as for
    `dataset=folder`."""
    if shipped := space.shipped.get(dataset):
        return load_reference(space, shipped, "restore the file from the repository")
    path = reference_path(dataset, side)
    if dataset == "folder" or not path.exists():
        return None
    return load_reference(space, path, f"make it anew with: {COMMAND} --dataset {dataset} --folder ... --size {side}")


def reference_path(dataset: str, side: int) -> Path:
    """The file for the statistics of a data set at this size."""
    return cache_folder() / "references" / f"{dataset}_{side}.safetensors"


def load_reference(space: FeatureSpace, path: Path, remedy: str) -> Reference:
    """Read the statistics that `save_reference` wrote. Raises UserError, which ends in `remedy`, when the file is
    absent, damaged, or belongs to another network."""
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata()
            mean, cov, features = (file.get_tensor(name).astype(np.float64) for name in ("mean", "cov", "features"))
            name, network, n = facts["name"], facts["network"], int(facts["n"])
            kept = Reference(name, features, mean, cov, network, n, facts.get("digest"))
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the statistics of a reference set ({error}); {remedy}") from error
    if kept.network != space.digest:
        networks = f"{kept.network[:12]}, not {space.digest[:12]}"
        raise UserError(f"{path}: made with feature network {networks}; {remedy}")
    return kept


def save_reference(reference: Reference, path: Path, features: type[np.floating] = np.float16) -> None:
    """Write mean and covariance in float64, and the features, which only KID needs, in the type that is given."""
    arrays = {"mean": reference.mean, "cov": reference.cov, "features": reference.features.astype(features)}
    facts = {"name": reference.name, "network": reference.network, "n": str(reference.n)}
    save_file(arrays, path, metadata=facts | ({"digest": reference.digest} if reference.digest else {}))
    path.chmod(0o644)

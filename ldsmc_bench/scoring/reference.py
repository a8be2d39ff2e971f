"""What a run's set of images is compared with: shipped statistics of validation toyfaces, or the run's truths.

`python -m ldsmc_bench.scoring.reference` draws the validation faces and writes the shipped file.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.assets import ASSETS, check_digest, note_digest
from ldsmc_bench.scoring.features import FeatureNetwork, load_features, unit_range
from ldsmc_bench.scoring.frechet import moments

STATISTICS = ASSETS / "toyfaces_reference.safetensors"
FACES = 2048


@dataclass(frozen=True)
class Reference:
    """Features (n, 64) of a reference set, their mean and covariance, in float64, and the digest of their network."""

    name: str
    features: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    network: str


def features_of(network: FeatureNetwork, images: Tensor) -> np.ndarray:
    """Features (n, 64), float64, of uint8 images (n, 3, 64, 64)."""
    with torch.no_grad():
        return torch.cat([network.features(unit_range(batch)) for batch in images.split(64)]).double().numpy()


def reference_of(network: FeatureNetwork, images: Tensor, name: str) -> Reference:
    """The reference that these uint8 images (n, 3, 64, 64) make; `name` says in the summary what they are."""
    features = features_of(network, images)
    return Reference(name, features, *moments(features), network=network.digest)


def reference_for(dataset: str, network: FeatureNetwork, truths: Tensor) -> Reference:
    """The shipped statistics for toyfaces; for any other data set the truths (uint8) of the run itself."""
    return load_reference(network) if dataset == "toyfaces" else reference_of(network, truths, "the run's truths")


def load_reference(network: FeatureNetwork, path: Path = STATISTICS) -> Reference:
    """The shipped statistics. Raises UserError when they are not there, not those, or made with another network."""
    check_digest(path)
    with safe_open(path, "np") as file:
        facts = file.metadata()
        if facts["network"] != network.digest:
            raise UserError(
                f"{path}: made with feature network {facts['network'][:12]}, not {network.digest[:12]}; "
                "make it anew with: python -m ldsmc_bench.scoring.reference"
            )
        features = file.get_tensor("features").astype(np.float64)
        return Reference(facts["name"], features, file.get_tensor("mean"), file.get_tensor("cov"), facts["network"])


def save_reference(reference: Reference, path: Path) -> None:
    """Mean and covariance in float64; the features, which only KID needs, in float16."""
    arrays = {"mean": reference.mean, "cov": reference.cov, "features": reference.features.astype(np.float16)}
    facts = {"name": reference.name, "network": reference.network, "n": str(len(reference.features))}
    save_file(arrays, path, metadata=facts)
    path.chmod(0o644)


def main() -> None:
    from ldsmc_bench.prior.training import render
    from ldsmc_bench.problem import toyfaces

    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.scoring.reference", description=__doc__)
    parser.add_argument("--faces", type=int, default=FACES, help="validation faces to draw")
    parser.add_argument("--out", type=Path, default=STATISTICS)
    options = parser.parse_args()
    faces = render(toyfaces.ids("validation")[: options.faces])
    reference = reference_of(load_features(), faces, f"{len(faces)} validation toyfaces")
    save_reference(reference, options.out)
    note_digest(options.out)
    print(f"{options.out}: {reference.name}, network {reference.network[:12]}")


if __name__ == "__main__":
    main()

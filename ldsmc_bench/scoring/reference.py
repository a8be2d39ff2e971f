"""What a run's set of images is compared with: statistics made beforehand by this command, or the run's truths.

With --dataset and --folder: of all pictures in the folder, at the runs' size, with clean-fid's features; kept in the
cache, where every run on that data set finds them. Without: of drawn validation toyfaces, the file that is shipped.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.assets import ASSETS, check_digest, note_digest
from ldsmc_bench.prior.cache import cache_folder
from ldsmc_bench.scoring.features import load_features
from ldsmc_bench.scoring.frechet import moments
from ldsmc_bench.scoring.spaces import FeatureSpace, toyfaces_space

STATISTICS = ASSETS / "toyfaces_reference.safetensors"
FACES = 2048
TRUTHS = "the run's truths"
COMMAND = "python -m ldsmc_bench.scoring.reference"


@dataclass(frozen=True)
class Reference:
    """A reference set of n images: mean and covariance of their features, and the features (m, D) of them or of some.

    All in float64. `network` is the digest of the network; `digest` that of the pictures, where they were a folder's.
    """

    name: str
    features: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    network: str
    n: int
    digest: str | None = None


class Digested(Protocol):
    """A network, or what is made of one."""

    @property
    def digest(self) -> str: ...


def reference_of(space: FeatureSpace, images: Iterable[Tensor], name: str) -> Reference:
    """The reference that these uint8 images (3,S,S) make; `name` says in the summary what they are."""
    features = space.features(images)
    return Reference(name, features, *moments(features), network=space.digest, n=len(features))


def made_beforehand(dataset: str, side: int, space: FeatureSpace) -> Reference | None:
    """The statistics that are shipped (toyfaces) or cached for this data set at this size; None where there are none.

    Pictures of `dataset=folder` may be any: they are always compared with their truths.
    """
    if space.fid == "toyfaces_fid":
        return load_reference(space) if dataset == "toyfaces" else None
    path = cached(dataset, side)
    if dataset == "folder" or not path.exists():
        return None
    return load_reference(space, path, f"{COMMAND} --dataset {dataset} --folder ... --size {side}")


def cached(dataset: str, side: int) -> Path:
    """Where the statistics of a data set at this size are, or would be."""
    return cache_folder() / "references" / f"{dataset}_{side}.safetensors"


def load_reference(network: Digested, path: Path = STATISTICS, remake: str = COMMAND) -> Reference:
    """What `save_reference` kept. Raises UserError when it is not there, damaged, or made with another network."""
    check_digest(path)
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata()
            mean, cov, features = (file.get_tensor(name) for name in ("mean", "cov", "features"))
            kept = Reference(
                facts["name"],
                features.astype(np.float64),
                mean,
                cov,
                facts["network"],
                int(facts["n"]),
                facts.get("digest"),
            )
    except (SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the statistics of a reference set ({error}); make it anew: {remake}") from error
    if kept.network != network.digest:
        raise UserError(
            f"{path}: made with feature network {kept.network[:12]}, not {network.digest[:12]}; "
            f"make it anew with: {remake}"
        )
    return kept


def save_reference(reference: Reference, path: Path, features: type[np.floating] = np.float16) -> None:
    """Mean and covariance in float64; the features, which only KID needs, in the type that is given."""
    arrays = {"mean": reference.mean, "cov": reference.cov, "features": reference.features.astype(features)}
    facts = {"name": reference.name, "network": reference.network, "n": str(reference.n)}
    save_file(arrays, path, metadata=facts | ({"digest": reference.digest} if reference.digest else {}))
    path.chmod(0o644)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code is 0, or 2 where what was asked for cannot be made."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", help="the data set whose runs are compared with it, such as ffhq")
    parser.add_argument("--folder", help="the folder of its pictures, subfolders included")
    parser.add_argument("--size", type=int, default=256, help="side of the runs' images (default: 256)")
    parser.add_argument("--faces", type=int, default=FACES, help="without --folder: validation faces to draw")
    parser.add_argument("--out", type=Path, default=STATISTICS, help="without --folder: where the file goes")
    options = parser.parse_args(arguments)
    if bool(options.dataset) != bool(options.folder):
        parser.error("--dataset and --folder belong together")
    try:
        path, reference = _of_folder(options) if options.folder else _of_toyfaces(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {reference.name}, network {reference.network[:12]}")
    return 0


def _of_toyfaces(options: argparse.Namespace) -> tuple[Path, Reference]:
    from ldsmc_bench.prior.training import render
    from ldsmc_bench.problem import toyfaces

    faces = render(toyfaces.ids("validation")[: options.faces])
    reference = reference_of(toyfaces_space(load_features()), faces, f"{len(faces)} validation toyfaces")
    save_reference(reference, options.out)
    note_digest(options.out)
    return options.out, reference


def _of_folder(options: argparse.Namespace) -> tuple[Path, Reference]:
    from ldsmc_bench.scoring.folder_statistics import statistics_of_folder

    return statistics_of_folder(options.dataset, options.folder, options.size)


if __name__ == "__main__":
    sys.exit(main())

"""A data set: images by id."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ldsmc_bench.files import pixel_digest


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images by id: `load(id)` is (C,H,W) float32 in [-1,1]. `digest` changes with the way to load them and with the
    folder that they lie in, not with the state of its files.

    `labels` holds the class of every id, where the data set has classes. `state(id)` names the state of an image's file
    without reading it, and is None where there is no such file; `state` is None for images that are no files.
    """

    name: str
    ids: Sequence[str]
    load: Callable[[str], Tensor]
    digest: str
    labels: Mapping[str, int] | None = None
    state: Callable[[str], str | None] | None = None


def truth_digest(pixels: Tensor) -> str:
    """Digest of an 8-bit image (C,H,W), 16 hex digits, by which a record names its truth."""
    return pixel_digest(pixels.numpy())


def digest_of(way: object, ids: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join([str(way), *ids]))).hexdigest()

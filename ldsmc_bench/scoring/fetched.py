"""The metrics' files in the cache: whether they are there and which they are. Nothing is downloaded here."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ldsmc_bench.fetch.digests import recorded
from ldsmc_bench.fetch.places import place, where
from ldsmc_bench.fetch.sources import SOURCES
from ldsmc_bench.prior.assets import digest
from ldsmc_bench.scoring.protocols import PROTOCOLS


def file_of(metric: str) -> Path | None:
    """The file of the network of a metric, such as `lpips_vgg`; None where it was not fetched.

    Raises UserError, with the remedy, where it is not as long as it was when it was fetched.
    """
    source = PROTOCOLS[metric].fetched
    assert source is not None, f"{metric} needs no file"
    return where(source) if place(source, SOURCES[source]).is_file() else None


def digest_of(metric: str) -> str | None:
    """SHA-256 of that file; None where it was not fetched."""
    path = file_of(metric)
    if path is None:
        return None
    entry = recorded(path)
    return str(entry["sha256"]) if entry else digest(path)


def command(metrics: Iterable[str]) -> str:
    """What brings the files of these metrics."""
    return " ".join(["python -m ldsmc_bench.fetch", *dict.fromkeys(str(PROTOCOLS[name].fetched) for name in metrics)])


@contextmanager
def full_float32() -> Iterator[None]:
    """Whatever the sampler computes in, metrics' networks never compute in TF32."""
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution

"""The digest of a prior: a hash of named values, so that no name of a class or module can change it.

That of a prior with random weights bears a mark: such networks show whether the full size builds, runs and fits a
machine before any fetch, and are not scored.
"""

import hashlib

from ldsmc_bench.files import canonical
from ldsmc_bench.prior.interface import Prior

VERSION = 1  # raise it when the same values come to compute something else
_MARK = "random-weights"


def digest_of(layout: str, **values: object) -> str:
    """SHA-256 of all that a prior's output depends on: the `layout` of its files, the digest of its weights, and every
    setting that changes the computation. Values are numbers, texts, lists and mappings of them."""
    return hashlib.sha256(canonical({"layout": layout, "version": VERSION, **values}).encode()).hexdigest()


def random_digest(layout: str, **values: object) -> str:
    """The digest of a prior with random weights, recognised by its prefix."""
    return f"{_MARK}-{digest_of(layout, **values)}"


def has_trained_weights(prior: Prior) -> bool:
    return not prior.digest.startswith(_MARK)


def reason_unscored(name: str) -> str:
    """The reason why a run with the prior called `name` has no metrics."""
    return f"prior={name} has RANDOM WEIGHTS (prior.random_weights=true): its pictures mean nothing and are not scored"

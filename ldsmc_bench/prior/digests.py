"""The digest of a prior: a hash of named values, so that no name of a class or module can change it.

That of a prior with random weights bears a mark: such networks show whether the full size builds, runs and fits a
machine before any fetch, and are not scored.
"""

import hashlib
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from ldsmc_bench.files import canonical
from ldsmc_bench.prior.interface import Prior

Network = TypeVar("Network", bound=nn.Module)
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


def warn_of_random_weights(name: str) -> None:
    print(f"warning: {reason_unscored(name)}", file=sys.stderr)


def reason_unscored(name: str) -> str:
    """The reason why a run with the prior called `name` has no metrics."""
    return f"prior={name} has RANDOM WEIGHTS (prior.random_weights=true): its pictures mean nothing and are not scored"


def randomise(build: Callable[[], Network], seed: int = 0) -> Network:
    """The network of `build` with its initial random weights, the same ones for a seed; eval mode, frozen.

    Embeddings, a codebook among them, are standard normal: diffusers begins with all codes nearly zero, which would
    make every decoded image alike.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
    return network.requires_grad_(False).eval()

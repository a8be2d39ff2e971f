"""Networks that have learned nothing: to see that the full size builds, runs and fits a machine, before any fetch."""

import hashlib
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from ldsmc_bench.prior.interface import Prior

Network = TypeVar("Network", bound=nn.Module)
_MARK = "random-weights"


def randomised(build: Callable[[], Network], seed: int = 0) -> Network:
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


def marked(description: object) -> str:
    """The digest of a prior with random weights: whoever meets it knows."""
    return f"{_MARK}-{hashlib.sha256(str(description).encode()).hexdigest()}"


def learned(prior: Prior) -> bool:
    """Whether the prior's pictures may be scored."""
    return not prior.digest.startswith(_MARK)


def warn(name: str) -> None:
    """Say on stderr that the prior called `name` has learned nothing."""
    print(f"warning: {unscored(name)}", file=sys.stderr)


def unscored(name: str) -> str:
    """Why a run with this prior has no metrics."""
    return f"prior={name} has RANDOM WEIGHTS (prior.random_weights=true): its pictures mean nothing and are not scored"

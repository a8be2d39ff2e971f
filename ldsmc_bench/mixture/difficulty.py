"""The difficulty of drawing from a posterior: its dimension, and the number of components over which it spreads."""

import math

import torch

from ldsmc_bench.mixture.posterior import Posterior


def difficulty(posterior: Posterior) -> dict[str, float]:
    """`d`, the entries of a vector; `entropy` of the posterior's component weights, in nats, and `modes`, its
    exponential: the number of components of equal weight that would have it."""
    entropy = float(torch.special.entr(posterior.weights).sum())
    return {"d": float(len(posterior.mean_and_variance()[0])), "entropy": entropy, "modes": math.exp(entropy)}

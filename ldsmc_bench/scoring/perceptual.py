"""The perceptual distance on the toyfaces feature network (metric `toyfaces_perceptual`; it is not LPIPS)."""

import torch
from torch import Tensor

from ldsmc_bench.scoring.features import FeatureNetwork


def perceptual_distance(network: FeatureNetwork, x: Tensor, reference: Tensor) -> Tensor:
    """The distance (B,) between images (B, 3, 64, 64) in [0, 1], from 0 (same activations) to at most 2.

    Zhang et al. 2018 (LPIPS), Eq. 1, with equal weights: each position's channels are scaled to unit length, squared
    differences are summed over channels and averaged over positions; then the mean over the network's five stages,
    where LPIPS has a learned weight for each channel.
    """
    pairs = zip(network.layers(x), network.layers(reference), strict=True)
    return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in pairs]).mean(0)


def _unit(activations: Tensor) -> Tensor:
    return activations / (activations.norm(dim=1, keepdim=True) + 1e-8)

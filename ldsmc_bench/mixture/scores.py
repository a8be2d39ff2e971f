"""Scores of draws against a posterior in closed form: distances to it, beside the distances of exact draws."""

import torch
from torch import Tensor

from ldsmc_bench.mixture.posterior import Posterior

PROJECTIONS = 500


def exactness(
    draws: Tensor, posterior: Posterior, log_evidence: float | None, log_evidences: Tensor | None
) -> dict[str, float]:
    """Scores of independent `draws` (n,d) of a problem, given its posterior and log-evidence.

    `sw1`, `max_sw1`: the sliced Wasserstein distances from n exact draws, over 500 directions; `sw1_floor`: the mean
    distance between two sets of n exact draws; `sw1_ratio`: sw1 over that floor, 1 for a perfect sampler.
    `mean_error`: the largest bias of a coordinate in standard deviations of the posterior; `variance_ratio`: the
    variance of a coordinate over the posterior's, of the coordinate where this is furthest from 1. With the sampler's
    own estimates, one a run, `log_evidences` (n,): `log_evidence_gap`, the truth minus their mean, and
    `sd_log_evidence`. All random numbers are fixed, and the same for every sampler.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(PROJECTIONS, draws.shape[1], generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)
    exact = [posterior.sample(len(draws), generator) for _ in range(6)]
    floor = torch.stack([sliced(a, b, directions).mean() for a, b in zip(exact[::2], exact[1::2], strict=True)]).mean()
    apart = torch.stack([sliced(draws.double(), other, directions) for other in exact[:2]]).mean(dim=0)
    mean, variance = posterior.mean_and_variance()
    ratios = draws.double().var(dim=0) / variance
    scores = {
        "sw1": apart.mean(),
        "sw1_floor": floor,
        "sw1_ratio": apart.mean() / floor,
        "max_sw1": apart.max(),
        "mean_error": ((draws.double().mean(dim=0) - mean).abs() / variance.sqrt()).max(),
        "variance_ratio": ratios[ratios.log().abs().argmax()],
    }
    if log_evidence is not None and log_evidences is not None:
        scores["log_evidence_gap"] = log_evidence - log_evidences.mean()
        scores["sd_log_evidence"] = log_evidences.std()
    return {name: float(value) for name, value in scores.items()}


def sliced(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """The Wasserstein-1 distance (p,) between the points a (n,d) and b (n,d) along each of `directions` (p,d)."""
    along = [torch.sort(directions @ points.T, dim=1).values for points in (a, b)]
    return (along[0] - along[1]).abs().mean(dim=1)

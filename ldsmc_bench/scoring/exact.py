"""What draws of a posterior that is known are worth: distances to it, beside those that exact draws would have."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ldsmc_bench.problem.mixture import GaussianMixture
from ldsmc_bench.sampling.chain import Row

PROJECTIONS = 500


def exactness(
    draws: Tensor, posterior: GaussianMixture, log_evidence: float, log_evidences: Tensor | None
) -> dict[str, float]:
    """Scores of independent `draws` (n,d) of a problem whose posterior and log-evidence are known.

    `sw1`, `max_sw1`: their sliced Wasserstein distances from n exact draws, over 500 directions; `sw1_floor`: the mean
    distance between two sets of n exact draws; `sw1_ratio`: how many times the floor, 1 for a perfect sampler.
    `mean_error`: the largest bias of a coordinate in standard deviations of the posterior; `variance_ratio`: the
    variance of the coordinate that is furthest from the posterior's, over that. Where the sampler estimated the
    evidence of each run, `log_evidences` (n,): `log_evidence_gap`, how far their mean falls short of the truth, and
    `sd_log_evidence`. All random numbers are fixed, and the same for every sampler.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(PROJECTIONS, draws.shape[1], generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=1, keepdim=True)
    exact = [posterior.sample(len(draws), generator) for _ in range(6)]
    floor = torch.stack([sliced(a, b, directions).mean() for a, b in zip(exact[::2], exact[1::2], strict=True)]).mean()
    apart = torch.stack([sliced(draws.double(), other, directions) for other in exact[:2]]).mean(dim=0)
    mean, covariance = posterior.moments()
    variance = covariance.diagonal()
    ratios = draws.double().var(dim=0) / variance
    scores = {
        "sw1": apart.mean(),
        "sw1_floor": floor,
        "sw1_ratio": apart.mean() / floor,
        "max_sw1": apart.max(),
        "mean_error": ((draws.double().mean(dim=0) - mean).abs() / variance.sqrt()).max(),
        "variance_ratio": ratios[ratios.log().abs().argmax()],
    }
    if log_evidences is not None:
        scores["log_evidence_gap"] = log_evidence - log_evidences.mean()
        scores["sd_log_evidence"] = log_evidences.std()
    return {name: float(value) for name, value in scores.items()}


def sliced(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """The Wasserstein-1 distance between the points a (n,d) and b (n,d), as many, along each of `directions` (p,d)."""
    along = [torch.sort(directions @ points.T, dim=1).values for points in (a, b)]
    return (along[0] - along[1]).abs().mean(dim=1)


def chain_law(law: GaussianMixture, rows: Sequence[Row]) -> GaussianMixture:
    """The law of z_0 that the chain `rows` (rising) itself leads to from z_T ~ N(0, I), where z_0 is one Gaussian:
    every move is then affine. What a sampler is exact for is this chain, not the law that it was learned from.
    """
    identity = torch.eye(law.means.shape[1], dtype=torch.float64)
    mean, covariance = torch.zeros_like(law.means[0]), identity
    for row in reversed(rows):
        # z0_hat = M z + v, Tweedie's mean of z_0 given z
        at_level = row.a * law.covariances[0] + (1 - row.a) * identity
        m = row.a**0.5 * torch.linalg.solve(at_level, law.covariances[0]).mT
        v = law.means[0] - row.a**0.5 * m @ law.means[0]
        kept = max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 / (1 - row.a) ** 0.5
        gain = row.a_prev**0.5 - kept * row.a**0.5
        move = gain * m + kept * identity
        mean, covariance = move @ mean + gain * v, move @ covariance @ move.T + row.sigma**2 * identity
    return GaussianMixture(law.log_weights, mean[None], covariance[None])

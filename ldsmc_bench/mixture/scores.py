"""Scores of draws against a known posterior, kept with every run: distances to it, beside those of exact draws."""

import torch
from torch import Tensor

from ldsmc_bench.mixture.difficulty import difficulty
from ldsmc_bench.mixture.distances import CHEAP, directions, project, sliced
from ldsmc_bench.mixture.posterior import Posterior


def exactness(
    draws: Tensor, posterior: Posterior, log_evidence: float | None, log_evidences: Tensor | None
) -> dict[str, float]:
    """Scores of independent `draws` (n,d) of a problem, given its posterior and log-evidence.

    `sw1`, `max_sw1`: the sliced Wasserstein distances from n exact draws, over 500 directions; `sw1_floor`: the mean
    distance between two sets of n exact draws; `sw1_ratio`: sw1 over that floor, 1 for a perfect sampler.
    `mean_error`: the largest bias of a coordinate in standard deviations of the posterior; `variance_ratio`: the
    variance of a coordinate over the posterior's, of the coordinate where this is furthest from 1. The distances of
    `distances.CHEAP`; `mode_tv_floor`, what exact draws have on average where modes lie apart, else less; `entropy` and
    `modes`, the problem's difficulty. With the sampler's own estimates, one a run, `log_evidences` (n,):
    `log_evidence_gap`, the truth minus their mean, and `sd_log_evidence`. What is relative to the posterior's
    spread is left out where it has none. All random numbers are fixed, and the same for every sampler.
    """
    generator, draws = torch.Generator().manual_seed(0), draws.double()
    along = directions(draws.shape[1], generator)
    exact = [posterior.sample(len(draws), generator) for _ in range(6)]
    places = [project(one, along) for one in exact]
    floor = torch.stack([sliced(a, b).mean() for a, b in zip(places[::2], places[1::2], strict=True)]).mean()
    ours = project(draws, along)
    apart = torch.stack([sliced(ours, other) for other in places[:2]]).mean(dim=0)
    mean, variance = posterior.mean_and_variance()
    spread = variance > 0  # some pixels of faces alone are certain
    ratios = (draws.var(dim=0) / variance)[spread]
    hard = difficulty(posterior)
    many = torch.cat(exact[: 6 if draws.numel() < 100_000 else 1])
    scores: dict[str, Tensor | float] = {
        "sw1": apart.mean(),
        "sw1_floor": floor,
        "max_sw1": apart.max(),
        **{name: distance(draws, posterior, many) for name, distance in CHEAP.items()},
        "mode_tv_floor": _mode_tv_floor(posterior.weights, len(draws)),
        "entropy": hard["entropy"],
        "modes": hard["modes"],
    }
    if floor > 0:  # more than one face is plausible
        scores["sw1_ratio"] = apart.mean() / floor
        scores["mean_error"] = ((draws.mean(dim=0) - mean).abs() / variance.sqrt())[spread].max()
        scores["variance_ratio"] = ratios[ratios.log().abs().argmax()]
    else:
        del scores["mmse_gap"], scores["spread_ratio"]
    if log_evidence is not None and log_evidences is not None:
        scores["log_evidence_gap"] = log_evidence - log_evidences.mean()
        scores["sd_log_evidence"] = log_evidences.std()
    return {name: float(value) for name, value in scores.items()}


def _mode_tv_floor(weights: Tensor, draws: int) -> Tensor:
    """Half the summed mean deviation of shares of n draws, by the normal law; of weights below 1 / n twice these."""
    return 0.5 * torch.minimum((2 * weights * (1 - weights) / (torch.pi * draws)).sqrt(), 2 * weights).sum()

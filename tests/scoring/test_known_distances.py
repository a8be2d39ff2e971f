"""Distances from known posteriors: which one sees which wrong, and each against a closed form."""

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import permutations

import pytest
import torch
from scipy.stats import chi2, kstest, ncx2, norm
from torch import Tensor

from ldsmc_bench.mixture.distances import (
    c2st,
    distances,
    hpd,
    ksd,
    marginal,
    mmd_p,
    score_of,
    yardstick,
)
from ldsmc_bench.mixture.law import GaussianMixture
from ldsmc_bench.mixture.posterior import Posterior
from ldsmc_bench.mixture.scores import exactness

N = 400
PASSED = 4.0  # standard deviations of chance
WRONGS = ("shrunk", "narrow", "shifted", "lost", "prior")
# Which wrong 400 draws show, of vectors and of images: the table of ldsmc_bench/mixture/README.md.
SEEN = {
    "sw1": "shifted lost prior",
    "max_sw1": "shifted lost prior",
    "c2st": "shrunk shifted lost prior",
    "mmd": "shifted lost prior",
    "ksd": "shrunk shifted prior",
    "mode_tv": "lost prior",
    "hpd_50": "narrow shifted prior",
    "hpd_90": "shrunk narrow shifted prior",
    "marginal_50": "shrunk shifted prior",
    "marginal_90": "shrunk shifted prior",
    "mmse_gap": "shifted lost prior",
    "spread_ratio": "shrunk prior",
}


def modes(d: int, count: int, apart: float, std: float) -> GaussianMixture:
    """So many Gaussians of this standard deviation, whose means are `apart` times normal draws. The first four are the
    same for any number."""
    means = apart * torch.randn(count, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.tensor([0.3, 0.3, 0.2, 0.2, *[1.0] * (count - 4)], dtype=torch.float64)
    covariances = std**2 * torch.eye(d, dtype=torch.float64).expand(count, d, d)
    return GaussianMixture((weights / weights.sum()).log(), means, covariances)


def wrong_draws(posterior: Posterior, prior: Posterior, n: int) -> dict[str, Tensor]:
    """Draws that are right, and wrong in one way each: shrunk by a tenth as a whole, or each mode by itself; shifted by
    half a standard deviation; without one mode; of the prior."""
    generator = torch.Generator().manual_seed(1)
    right, more = posterior.sample(n, generator), posterior.sample(4 * n, generator)
    mean, variance = posterior.mean_and_variance()
    component = posterior.responsibilities(more).argmax(dim=1)
    lost, own = component.bincount().argsort()[-3], posterior.responsibilities(right).argmax(dim=1)
    middles = torch.stack([more[component == k].mean(dim=0) for k in range(int(component.max()) + 1)])
    return {
        "right": right,
        "shrunk": mean + 0.9 * (right - mean),
        "narrow": middles[own] + 0.9 * (right - middles[own]),
        "shifted": right + 0.5 * variance.sqrt(),
        "lost": more[component != lost][:n],
        "prior": prior.sample(n, generator),
    }


def told_apart(posterior: Posterior, prior: Posterior, names: Sequence[str], n: int) -> dict[str, dict[str, float]]:
    """For each kind of draws, by name of a distance, how far they are from exact ones, in what chance gives."""
    by = yardstick(posterior, n, names, sets=6)
    cases = wrong_draws(posterior, prior, n)
    return {case: {name: one.apart for name, one in distances(draws, by).items()} for case, draws in cases.items()}


def check(apart: Mapping[str, Mapping[str, float]]) -> None:
    print("\n".join(f"{case:8} " + "  ".join(f"{n} {v:.1f}" for n, v in row.items()) for case, row in apart.items()))
    assert max(apart["right"].values()) < PASSED
    for name in apart["right"]:
        assert [case for case in SEEN[name].split() if apart[case][name] < PASSED] == [], name


def test_right_draws_pass_and_wrong_ones_are_told_apart() -> None:
    check(told_apart(modes(8, 4, 4.0, 1.0), modes(8, 12, 4.0, 2.0), [name for name in SEEN if name != "c2st"], N))


@pytest.mark.slow
@pytest.mark.parametrize(("d", "apart", "std"), [(8, 4.0, 1.0), (192, 0.5, 0.2)], ids=["vectors", "images"])
def test_every_distance_tells_what_it_can(d: int, apart: float, std: float) -> None:
    found = told_apart(modes(d, 4, apart, std), modes(d, 12, apart, 2 * std), list(SEEN), N)
    check(found)
    assert all(max(found[case].values()) > 8 for case in WRONGS)  # none passes all


def test_a_classifier_finds_a_shift_and_nothing_in_exact_draws() -> None:
    law = modes(40, 4, 1.0, 1.0)  # more entries than it looks at
    a, b = (law.sample(200, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert c2st(a, law, b) == pytest.approx(0.5, abs=0.1)
    assert c2st(a + 1.0, law, b) > 0.9
    assert c2st(a + 1.0, law, b) == c2st(a + 1.0, law, b)


def gaussian(d: int) -> GaussianMixture:
    identity = torch.eye(d, dtype=torch.float64)
    return GaussianMixture(identity[0, :1].log(), torch.zeros_like(identity[:1]), identity[None])


def test_stein_discrepancy_is_that_of_its_definition_by_autograd() -> None:
    """Of the kernel k: s s' k + s grad' k + s' grad k + trace of the mixed derivatives, over pairs."""
    law = modes(3, 5, 2.0, 0.7)
    x = law.sample(4, torch.Generator().manual_seed(0))
    score = score_of(x, law)
    c2 = 9 / score.square().sum(dim=1).mean()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (1 + (a - b).square().sum() / c2) ** -0.5

    total = torch.tensor(0.0, dtype=torch.float64)
    for i, j in permutations(range(4), 2):
        a, b = x[i], x[j]
        mixed = torch.func.jacfwd(torch.func.grad(kernel, 0), 1)(a, b).trace()
        slopes = torch.func.grad(kernel, 0)(a, b) @ score[j] + torch.func.grad(kernel, 1)(a, b) @ score[i]
        total += c2 * (score[i] @ score[j] * kernel(a, b) + slopes + mixed)
    assert ksd(x, law, x) == pytest.approx(float(total) / 12)


def test_p_values_of_the_discrepancy_are_uniform_for_exact_draws() -> None:
    law = gaussian(2)
    samples = [law.sample(40, torch.Generator().manual_seed(seed)) for seed in range(80)]
    p = [mmd_p(a, law, b) for a, b in zip(samples[::2], samples[1::2], strict=True)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert mmd_p(samples[0] + 1.0, law, samples[1]) == pytest.approx(1 / 201)


def test_coverage_gap_and_spread_in_closed_form() -> None:
    """Draws of N(m, s^2 I) for N(0, I): half of a chi-square law, a normal's interval, |m|^2 / d."""
    law, many = gaussian(3), gaussian(3).sample(20_000, torch.Generator().manual_seed(0))
    draws = 0.5 * gaussian(3).sample(20_000, torch.Generator().manual_seed(1)) + 0.2
    for level in (0.5, 0.9):
        inside = ncx2.cdf(chi2.ppf(level, 3) / 0.25, 3, 3 * 0.04 / 0.25)
        assert hpd(level)(draws, law, many) == pytest.approx(inside, abs=0.02)
        edge = norm.ppf((1 + level) / 2)
        inside = norm.cdf((edge - 0.2) / 0.5) - norm.cdf((-edge - 0.2) / 0.5)
        assert marginal(level)(draws, law, many) == pytest.approx(inside, abs=0.02)
    scores = exactness(draws[:2000], law, None, None)
    assert scores["mmse_gap"] == pytest.approx(10 * math.log10(1 + 0.04), abs=0.03)
    assert scores["spread_ratio"] == pytest.approx(0.25, abs=0.01)


def test_misplaced_weight_and_its_floor() -> None:
    law = modes(4, 4, 30.0, 1.0)
    means = law.means
    draws = torch.cat([means[0].repeat(50, 1), means[1].repeat(50, 1)])
    assert exactness(draws, law, None, None)["mode_tv"] == pytest.approx(0.4)
    found = [exactness(law.sample(100, torch.Generator().manual_seed(s)), law, None, None) for s in range(20)]
    assert statistics.fmean(one["mode_tv"] for one in found) == pytest.approx(found[0]["mode_tv_floor"], rel=0.25)

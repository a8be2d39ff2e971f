import dataclasses
import json
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ldsmc_bench.calibration import draws as module
from ldsmc_bench.calibration.draws import (
    DrawMetrics,
    coverage,
    draw_metrics,
    fair_crps,
    fair_energy,
    nominal,
    pool,
    randomised_ranks,
)

SIDE = 16


def images(rng: np.random.Generator, count: int, scale: float = 1.0, shift: float = 0.0) -> list[DrawMetrics]:
    """Of images whose entries are independent Gaussians of std 20, in 8 bits; draws too wide by `scale`, or shifted."""
    rows = []
    for _ in range(20):
        mean = rng.uniform(100, 150, size=(3, 1, 1))
        truth = mean + 20 * rng.normal(size=(3, SIDE, SIDE))
        drawn = mean + shift + scale * 20 * rng.normal(size=(count, 3, SIDE, SIDE))
        hidden = torch.ones(3, SIDE, SIDE, dtype=torch.bool)
        rows.append(draw_metrics(bits(drawn), bits(truth), hidden, rng, entries, root_mean_square))
    return rows


def entries(pictures: Tensor) -> np.ndarray:
    return pictures.double().flatten(1).numpy() / 255


def root_mean_square(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).square().mean().sqrt()) / 255


def bits(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("count", [2, 16])
def test_crps_of_a_gaussian_has_its_closed_form_for_every_number_of_draws(count: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(count, 200_000))
    for x in (-1.5, 0.0, 0.7):
        exact = x * (2 * stats.norm.cdf(x) - 1) + 2 * stats.norm.pdf(x) - 1 / math.sqrt(math.pi)
        assert fair_crps(drawn, np.full(drawn.shape[1], x)).mean() == pytest.approx(exact, abs=0.006)


def test_crps_by_sorting_is_the_double_sum() -> None:
    drawn, truth = np.random.default_rng(1).normal(size=(7, 5)), np.zeros(5)
    apart = np.abs(drawn[:, None] - drawn[None]).sum(axis=(0, 1)) / (2 * 7 * 6)
    np.testing.assert_allclose(fair_crps(drawn, truth), np.abs(drawn).mean(axis=0) - apart)


def test_energy_is_the_crps_of_one_dimension_and_unbiased_in_many() -> None:
    rng = np.random.default_rng(2)
    drawn, truth = rng.normal(size=(6, 1)), rng.normal(size=1)
    assert fair_energy(drawn, truth) == pytest.approx(float(fair_crps(drawn, truth)[0]))
    distance = math.sqrt(2) * math.gamma(3) / math.gamma(2.5) * math.sqrt(2)  # of two points N(0, I), 5 dimensions
    for count in (2, 16):
        scores = [fair_energy(rng.normal(size=(count, 5)), rng.normal(size=5)) for _ in range(3000)]
        assert np.mean(scores) == pytest.approx(distance / 2, abs=4 * np.std(scores) / math.sqrt(3000))


def test_levels_of_intervals_are_those_that_the_number_of_draws_allows() -> None:
    assert [nominal(2, level) for level in (0.5, 0.9)] == [pytest.approx(1 / 3)] * 2
    assert [nominal(16, level) for level in (0.5, 0.9)] == [pytest.approx(9 / 17), pytest.approx(15 / 17)]
    assert [nominal(19, level) for level in (0.5, 0.9)] == [pytest.approx(0.5), pytest.approx(0.9)]
    assert coverage(np.ones(17), 0.9) == pytest.approx(15 / 17)
    assert coverage(np.array([0, 1, 0]), 0.5) == 1 and coverage(np.array([5, 0, 5]), 0.5) == 0


@pytest.mark.parametrize("count", [2, 16])
def test_exact_draws_of_a_gaussian_are_calibrated(count: int) -> None:
    pooled = pool(images(np.random.default_rng(3), count))
    for estimate, right in zip(
        (pooled.spread_skill, pooled.coverage_50, pooled.coverage_90), (1.0, *pooled.levels), strict=True
    ):
        assert estimate.value == pytest.approx(right, abs=0.02)
        assert abs(estimate.value - right) < 4 * estimate.se
    assert np.all(np.abs(pooled.shares - 1 / (count + 1)) < 4 * pooled.errors)
    scores = np.mean([list(row.scalars().values()) for row in images(np.random.default_rng(4), count)], axis=0)
    by_name = dict(zip(images(np.random.default_rng(4), 2)[0].scalars(), scores, strict=True))
    assert by_name["crps"] == pytest.approx(20 / 255 / math.sqrt(math.pi), rel=0.03)
    if count == 16:
        assert by_name["spread"] == pytest.approx(20 / 255, rel=0.03)
        expected = 20 * math.log10(255 / 20) - 10 * math.log10(1 + 1 / 16)
        assert by_name["psnr_mean"] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("count", [2, 16])
def test_narrow_wide_and_shifted_draws_are_distinguished(count: int) -> None:
    rng = np.random.default_rng(5)
    exact, narrow, wide, shifted = (
        pool(images(rng, count, *wrong)) for wrong in ((1.0, 0.0), (0.7, 0.0), (1.4, 0.0), (1.0, 12.0))
    )
    assert narrow.spread_skill.high < 1 < wide.spread_skill.low
    assert narrow.coverage_90.value < exact.coverage_90.value < wide.coverage_90.value
    assert narrow.shares[0] > 1 / (count + 1) > wide.shares[0]
    assert narrow.shares[-1] > 1 / (count + 1) > wide.shares[-1]
    assert shifted.shares[0] > 1.3 / (count + 1) and shifted.shares[-1] < 0.8 / (count + 1)
    laws = [images(rng, count, *wrong) for wrong in ((1, 0), (0.5, 0), (2, 0), (1, 20))]
    for score in ("crps", "energy"):
        means = [np.mean([getattr(row, score) for row in rows]) for rows in laws]
        assert min(means) == means[0], score
    diversity = [float(np.mean([row.diversity for row in rows])) for rows in laws]
    apart = 20 / 255 * math.sqrt(2)  # the root mean square of differences of two draws
    assert diversity == pytest.approx([apart, apart / 2, 2 * apart, apart], rel=0.02), "a shift is not seen here"


@pytest.mark.parametrize("value", [0, 128])
def test_ranks_stay_uniform_where_all_values_are_the_same(value: int) -> None:
    constant = torch.full((8, 3, 64, 64), value, dtype=torch.uint8)
    row = draw_metrics(constant, constant[0], torch.ones(3, 64, 64, dtype=torch.bool), np.random.default_rng(6))
    assert stats.chisquare(row.histogram).pvalue > 0.001
    assert row.crps == 0 and row.spread == 0 and "spread_skill" not in row.scalars()


def test_ranks_stay_uniform_among_few_values() -> None:
    rng = np.random.default_rng(7)
    drawn, truth = rng.poisson(0.7, size=(5, 30_000)), rng.poisson(0.7, size=30_000)
    assert stats.chisquare(np.bincount(randomised_ranks(drawn, truth, rng))).pvalue > 0.001


def test_only_hidden_entries_count_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    drawn, truth = (bits(rng.uniform(0, 255, size=(*n, 3, SIDE, SIDE))) for n in ((4,), ()))
    hidden = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    hidden[:, 4:9, 3:] = True
    whole = draw_metrics(drawn, truth, hidden, np.random.default_rng(0))
    other = drawn.where(hidden, torch.zeros_like(drawn))
    monkeypatch.setattr(module, "BLOCK", 7)
    again = draw_metrics(other, truth, hidden, np.random.default_rng(0))
    assert again.histogram == whole.histogram and sum(whole.histogram) == int(hidden.sum())
    for name in ("spread", "crps", "variance_sum", "error_sum"):
        assert getattr(again, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    assert again.psnr_mean != whole.psnr_mean  # of the whole image


def test_networks_see_the_mean_in_8_bits_and_pairs_of_draws() -> None:
    drawn = torch.stack([torch.full((3, 2, 2), value, dtype=torch.uint8) for value in (10, 21, 35)])
    truth = torch.full((3, 2, 2), 20, dtype=torch.uint8)

    def distance(a: Tensor, b: Tensor) -> float:
        assert a.dtype == b.dtype == torch.uint8 and a.shape == b.shape == (1, 3, 2, 2)
        return abs(float(a.float().mean() - b.float().mean()))

    row = draw_metrics(
        drawn,
        truth,
        torch.ones(3, 2, 2, dtype=torch.bool),
        np.random.default_rng(0),
        lambda pictures: pictures.double().mean(dim=(1, 2, 3))[:, None].numpy(),
        distance,
    )
    assert row.perceptual_mean == 2 and row.diversity == pytest.approx((11 + 25 + 14) / 3)
    assert row.energy == pytest.approx((10 + 1 + 15) / 3 - (11 + 25 + 14) / 6)
    assert row.psnr_mean == pytest.approx(20 * math.log10(255 / 2))
    assert DrawMetrics(**json.loads(json.dumps(dataclasses.asdict(row)))).scalars() == row.scalars()


@pytest.mark.parametrize("count", [2, 3, 8, 9, 64])
def test_diversity_is_over_all_pairs_or_over_as_many_of_each_draw(count: int) -> None:
    pairs = module._pairs(count)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == min(math.comb(count, 2), module.PAIRS)
    if count <= 8:
        assert {frozenset(pair) for pair in pairs} == {frozenset(pair) for pair in combinations(range(count), 2)}


def test_a_network_may_have_no_value() -> None:
    drawn = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    hidden = torch.ones(3, 2, 2, dtype=torch.bool)
    row = draw_metrics(drawn, drawn[0], hidden, np.random.default_rng(0), perceptual=lambda a, b: None)
    assert row.diversity is None and row.perceptual_mean is None


def test_entries_of_one_image_are_no_independent_trials() -> None:
    rng = np.random.default_rng(9)
    ones = torch.ones(3, SIDE, SIDE, dtype=torch.bool)
    flat = [  # images of one colour: one rank an image, 768 times
        draw_metrics(bits(np.tile(128 + 20 * rng.normal(size=(4, 1, 1, 1)), (1, 3, SIDE, SIDE))), truth, ones, rng)
        for truth in bits(np.tile(128 + 20 * rng.normal(size=(50, 1, 1, 1)), (1, 3, SIDE, SIDE)))
    ]
    pooled = pool(flat)
    np.testing.assert_allclose(pooled.errors, np.sqrt(pooled.shares * (1 - pooled.shares) / 50), rtol=0.15)


def test_one_draw_nothing_hidden_and_mixed_numbers_are_refused() -> None:
    drawn, hidden = torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.ones(3, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="two draws"):
        draw_metrics(drawn[:1], drawn[0], hidden, np.random.default_rng(0))
    with pytest.raises(ValueError, match="hidden"):
        draw_metrics(drawn, drawn[0], ~hidden, np.random.default_rng(0))
    four, three = (draw_metrics(drawn[:n], drawn[0], hidden, np.random.default_rng(0)) for n in (4, 3))
    with pytest.raises(ValueError, match="equally many"):
        pool([four, three])
    with pytest.raises(ValueError, match="two images"):
        pool([four])

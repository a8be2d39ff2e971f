"""The statistics of tables against closed forms, tables of the field, and simulations of known components."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ldsmc_bench.report.statistics import Estimate, estimate_interval, holm, independent_p, mean, paired_p, set_mean


def test_one_seed_is_the_mean_over_images():
    estimate = mean(pd.DataFrame([1.0, 2.0, 4.0, 5.0]))
    assert estimate.value == 3 and estimate.n == 4 and estimate.seeds == 1
    assert estimate.se == pytest.approx(math.sqrt(10 / 3 / 4)) and estimate.images == estimate.se
    assert mean(pd.DataFrame([7.0])) == Estimate(7.0, None, 1, 1)


def test_components_by_hand():
    """Means of images 2, 4, 9 and of seeds 4, 6: the sums of squares are 2 x 26, 3 x 2 and, left over, 4."""
    table = pd.DataFrame([[1.0, 3.0], [2.0, 6.0], [9.0, 9.0]])
    estimate = mean(table)
    ms_images, ms_seeds, ms_rest = 52 / 2, 6 / 1, 4 / 2
    assert estimate.value == 5 and (estimate.n, estimate.seeds) == (3, 2)
    assert estimate.images == pytest.approx(math.sqrt((ms_images - ms_rest) / 2 / 3))
    assert estimate.of_seeds == pytest.approx(math.sqrt((ms_seeds - ms_rest) / 3 / 2))
    assert estimate.rest == pytest.approx(math.sqrt(ms_rest / 6))
    assert estimate.se == pytest.approx(math.sqrt((ms_images + ms_seeds - ms_rest) / 6))


def test_components_are_found_again_in_simulated_rows():
    """200 draws of 40 images in 5 seeds: the estimated components are right on average."""
    random, (image, seed, rest), (n, s) = np.random.default_rng(0), (2.0, 0.7, 0.5), (40, 5)
    found = []
    for _ in range(400):
        y = (
            3
            + image * random.normal(size=(n, 1))
            + seed * random.normal(size=(1, s))
            + rest * random.normal(size=(n, s))
        )
        e = mean(pd.DataFrame(y))
        assert e.images is not None and e.of_seeds is not None and e.rest is not None and e.se is not None
        found.append([e.images**2 * n, e.of_seeds**2 * s, e.rest**2 * n * s, e.value, e.se**2])
    components = np.mean(found, axis=0)
    assert components[:3] == pytest.approx([image**2, seed**2, rest**2], rel=0.08)
    assert np.var([f[3] for f in found]) == pytest.approx(components[4], rel=0.2)  # se^2 is the variance of the mean


def test_a_negative_component_is_none():
    y = pd.DataFrame([[0.0, 1.0], [1.0, 0.0]])  # all is interaction
    estimate = mean(y)
    assert (estimate.images, estimate.of_seeds) == (0, 0)
    assert estimate.se == estimate.rest == pytest.approx(math.sqrt(1.0 / 4))


def test_one_image_in_several_seeds_tells_of_the_seeds_only():
    estimate = mean(pd.DataFrame([[1.0, 2.0, 3.0]]))
    assert estimate.se == estimate.of_seeds == pytest.approx(1 / math.sqrt(3)) and estimate.images is None


def test_gaps_are_refused():
    for table in (pd.DataFrame([[1.0, np.nan]]), pd.DataFrame()):
        with pytest.raises(ValueError, match="every image in every seed"):
            mean(table)


def test_set_metrics_over_seeds():
    assert set_mean([10.0], [2.0], 8) == Estimate(10.0, 2.0, 8, 1, images=2.0)
    estimate = set_mean([10.0, 12.0], [3.0, 3.0], 8)
    assert estimate.value == 11 and estimate.images == 3 and estimate.of_seeds == pytest.approx(1.0)
    assert estimate.se == pytest.approx(math.sqrt(10))
    assert set_mean([10.0], [None], 8).se is None


def test_wilcoxon_by_its_closed_form():
    """All of n differences of one sign: p is exactly 2 / 2^n. The least of four ranks against the others: 4 / 16."""
    a = pd.Series([1.0, 2.5, 4.5, 7.0], index=list("abcd"))
    assert paired_p(a, a - a.rank()) == pytest.approx(2 / 16)
    assert paired_p(a, a - [-1, 2, 3, 4]) == pytest.approx(4 / 16)


def test_wilcoxon_pairs_by_image_and_leaves_out_what_is_equal_or_absent():
    a = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 9.0, "f": np.nan})
    b = pd.Series({"d": 3.9, "c": 2.8, "b": 1.7, "a": 1.0, "f": 1.0, "z": 0.0})
    assert paired_p(a, b) == pytest.approx(2 / 8)
    assert paired_p(a, a) == 1.0
    assert math.isnan(paired_p(a, pd.Series({"y": 1.0})))


def test_wilcoxon_of_many_images_is_near_its_normal_limit():
    random = np.random.default_rng(1)
    difference = pd.Series(random.normal(0.1, 1, 1000))
    ranks = difference.abs().rank()
    statistic = ranks[difference > 0].sum()
    z = (statistic - 1000 * 1001 / 4) / math.sqrt(1000 * 1001 * 2001 / 24)
    assert paired_p(difference, difference * 0) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), rel=1e-2)


def test_independent_estimates():
    a, b = Estimate(10.0, 3.0, 8, 1), Estimate(0.0, 4.0, 8, 1)
    assert independent_p(a, b) == pytest.approx(math.erfc(2 / math.sqrt(2)))
    assert math.isnan(independent_p(a, Estimate(1.0, None, 1, 1)))
    exact = Estimate(1.0, 0.0, 8, 1)
    assert independent_p(exact, exact) == 1 and independent_p(exact, Estimate(2.0, 0.0, 8, 1)) == 0


def test_holm_by_hand():
    """Holm 1979: 0.01, 0.03, 0.04 of three: 3 x 0.01, 2 x 0.03, then never less than before."""
    adjusted = holm({"x": 0.04, "y": 0.01, "z": 0.03, "unknown": math.nan})
    assert {k: v for k, v in adjusted.items() if k != "unknown"} == pytest.approx({"x": 0.06, "y": 0.03, "z": 0.06})
    assert math.isnan(adjusted["unknown"])
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}


def test_one_image_in_several_seeds_has_the_interval_of_the_seeds() -> None:
    """Student's t of five seeds, not of one image: 2.8 standard errors, not 12.7."""
    seeds = np.array([1.0, 2.0, 4.0, 3.0, 2.5])
    value, low, high = estimate_interval(mean(pd.DataFrame([seeds])))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 4, value, stats.sem(seeds)))

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ldsmc_bench.calibration.reliability import (
    Readings,
    brier,
    class_shares,
    confusion_matrix,
    log_score,
    reliability,
    wilson,
)

ERRORS = np.array([[0.95, 0.05], [0.15, 0.85]])
THREE = np.array([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.1, 0.2, 0.7]])


def readings(
    rng: np.random.Generator, n: int, draws: int, confusion: np.ndarray = ERRORS, power: float = 1.0
) -> tuple[Readings, np.ndarray]:
    """Classes of probabilities p (n,C), of truths and of draws, the latter from p to the `power`: above 1 too sure."""
    classes = len(confusion)
    p = rng.dirichlet(np.full(classes, 0.7), size=n)
    other = p**power / (p**power).sum(axis=1, keepdims=True)
    truth = _choose(rng, p)
    drawn = np.stack([_choose(rng, other) for _ in range(draws)], axis=1)
    return Readings(_choose(rng, confusion[drawn]), truth, confusion), p


def _choose(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    return (rng.random(p.shape[:-1])[..., None] > p.cumsum(axis=-1)[..., :-1]).sum(axis=-1)


def test_wilson_intervals_have_their_published_values() -> None:
    low, high = wilson(np.array([0.0, 5.0, 81.0]), np.array([10.0, 10.0, 263.0]))
    np.testing.assert_allclose(low, [0.0, 0.2366, 0.2553], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 0.3662], atol=1e-4)


def test_confusion_is_by_the_class_of_the_truth() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1]), 2)
    np.testing.assert_allclose(matrix, [[2 / 3, 1 / 3], [0, 1]])
    with pytest.raises(ValueError, match="class 2"):
        confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3)


@pytest.mark.parametrize("confusion", [ERRORS, THREE])
def test_shares_are_corrected_for_the_network(confusion: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    of_many, p = readings(rng, 300, 2000, confusion)
    shares = class_shares(of_many)
    np.testing.assert_allclose(shares, p, atol=0.1)
    assert np.abs(shares - p).mean() < 0.015 and shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("draws", [2, 16])
@pytest.mark.parametrize("confusion", [np.eye(2), ERRORS, THREE])
def test_brier_score_depends_on_neither_draws_nor_network(draws: int, confusion: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    of_all, p = readings(rng, 40_000, draws, confusion)
    scores = brier(of_all)
    exact = (1 - np.square(p).sum(axis=1)).mean() / 2  # p (1 - p) for two classes
    assert scores.mean() == pytest.approx(exact, abs=4 * scores.std() / math.sqrt(len(scores)))


def test_log_score_is_finite_and_tends_to_the_entropy() -> None:
    rng = np.random.default_rng(2)
    many, p = readings(rng, 4000, 400, np.eye(2))
    entropy = stats.entropy(p, axis=1).mean()
    assert log_score(many).mean() == pytest.approx(entropy, abs=0.05)
    unseen = Readings(np.zeros((1, 16), dtype=int), np.array([1]), np.eye(2))
    assert log_score(unseen) == pytest.approx([-math.log(0.5 / 17)])


@pytest.mark.parametrize("draws", [2, 16])
@pytest.mark.parametrize("confusion", [np.eye(2), ERRORS, np.eye(3), THREE])
def test_calibrated_draws_are_on_the_expected_curve(draws: int, confusion: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    curve = reliability([readings(rng, 10_000, draws, confusion)[0]])
    np.testing.assert_allclose(curve.frequency, curve.expected, atol=0.06)
    assert curve.ece < 2.5 * curve.ece_floor < 0.05 and curve.p > 0.001
    assert np.all((curve.low <= curve.frequency) & (curve.frequency <= curve.high))


def test_the_share_itself_is_biased_for_few_draws() -> None:
    curve = reliability([readings(np.random.default_rng(4), 20_000, 2, np.eye(2))[0]])
    np.testing.assert_allclose(curve.share, [0, 0.5, 1])
    # Beta(0.7, 0.7) given k of 2: (k + 0.7) / 3.4
    np.testing.assert_allclose(curve.expected, [0.7 / 3.4, 0.5, 2.7 / 3.4], atol=0.02)


def test_for_many_draws_the_error_is_the_usual_one() -> None:
    rng = np.random.default_rng(5)
    truth = (rng.random(4000) < 0.6).astype(int)
    reads = (rng.random((4000, 500)) < 0.8).astype(int)  # 80 % of the draws, of 60 % of the truths
    curve = reliability([Readings(reads, truth, np.eye(2))])
    assert curve.ece == pytest.approx(0.2, abs=0.02) and curve.p == pytest.approx(1 / 1001)


def test_p_is_uniform_of_few_images_and_small_for_draws_too_sure_or_unsure() -> None:
    rng = np.random.default_rng(6)
    p = [reliability([readings(rng, 64, 16)[0] for _ in range(3)]).p for _ in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    for power in (5.0, 0.2):
        wrong = [reliability([readings(rng, 200, 16, ERRORS, power)[0] for _ in range(3)]) for _ in range(20)]
        assert np.mean([curve.p < 0.05 for curve in wrong]) > 0.8
        assert np.mean([curve.ece for curve in wrong]) > 1.5 * np.mean([curve.ece_floor for curve in wrong])


def test_attributes_of_one_image_share_a_sign_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(7)
    one, other = (replace(readings(rng, 40, 8)[0], images=rng.permutation(60)[:40]) for _ in range(2))
    mixed = rng.permutation(40)
    moved = Readings(other.reads[mixed], other.truth[mixed], other.confusion, other.ids[mixed])
    assert reliability([one, moved]).p == reliability([one, other]).p != reliability([one]).p
    assert reliability([one, one]).p == reliability([one]).p, "the same twice is no further evidence"
    assert reliability([one, replace(one, images=one.ids + 60)]).p != reliability([one]).p, "of other images it is"


def test_a_network_that_cannot_read_the_attribute_is_refused() -> None:
    blind = Readings(np.zeros((4, 3), dtype=int), np.array([0, 1, 0, 1]), np.array([[0.6, 0.4], [0.6, 0.4]]))
    with pytest.raises(ValueError, match="cannot be judged"):
        brier(blind)
    with pytest.raises(ValueError, match="cannot be judged"):
        reliability([blind])

"""The search, with functions in the place of runs: what it finds, what it stops, what it spends."""

from collections.abc import Callable, Sequence
from itertools import islice
from zlib import crc32

import numpy as np
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.tuning.search import Choice, Evaluate, Limits, Range, Scored, Trial, Values, best_of, search, space_of

SPACE = {"zeta": Range(0.01, 100.0, log=True)}
HARDNESS = 10 * np.random.default_rng(0).random(16)  # of images: a hundred times what values of zeta differ by


def judged(loss: Callable[[Values], float], calls: float = 25, seen: list[int] | None = None) -> Evaluate:
    """Images that are restored with this loss, each the harder by its own, and a noise of 0.02."""

    def evaluate(values: Values, images: int) -> Sequence[Scored]:
        if seen is not None:
            seen.append(images)
        noise = np.random.default_rng(crc32(repr(values).encode())).normal(scale=0.02, size=16)
        return [Scored(loss(values) + hard + one, calls) for hard, one in zip(HARDNESS[:images], noise, strict=False)]

    return evaluate


def bowl(values: Values) -> float:
    """Least at zeta = 2."""
    return 0.1 * float(np.log(values["zeta"] / 2) ** 2)


def found(evaluate: Evaluate, budget: int = 25 * 16 * 20, start: Values | None = None) -> list[Trial]:
    return list(search(SPACE, start or {}, evaluate, Limits(16, 4, budget), seed=0))


def test_the_least_loss_is_found() -> None:
    trials = found(judged(bowl))
    best = best_of(trials)
    assert best is not None and 1.3 < best.values["zeta"] < 3  # at most 0.02 above the least
    assert best.mean == pytest.approx(min(one.mean for one in trials if one.end == "whole"))
    assert best.se == pytest.approx(np.std(best.losses, ddof=1) / 4)


def test_a_trial_that_is_worse_on_the_same_images_is_stopped_however_hard_they_are() -> None:
    """Its mean says nothing: images differ by a hundred times as much as the trials do."""
    space, seen = {"which": Choice(("good", "bad", "better"))}, list[int]()
    evaluate = judged(lambda values: {"good": 0.1, "bad": 0.2, "better": 0.0}[values["which"]], seen=seen)
    trials = list(search(space, {"which": "good"}, evaluate, Limits(16, 4, 10**6), seed=0))
    ends = {one.values["which"]: (one.end, len(one.losses)) for one in trials}
    assert ends == {"good": ("whole", 16), "bad": ("worse", 8), "better": ("whole", 16)}  # six images at least
    assert (best := best_of(trials)) is not None and best.values == {"which": "better"}
    assert len(seen) == 4 + 2 + 4  # and the space has no others, so the search ends long before its budget


def test_the_budget_counts_the_images_of_stopped_trials_alone_as_far_as_they_went() -> None:
    trials = found(judged(bowl))
    assert all(one.calls == 25 * len(one.losses) for one in trials)
    assert {one.end for one in trials} == {"whole", "worse"}
    assert len(trials) > 20
    assert 25 * 16 * 19 < sum(one.calls for one in trials) <= 25 * 16 * 20


def test_a_dear_trial_ends_with_the_budget() -> None:
    evaluate = judged(lambda values: -values["zeta"], calls=25)

    def dearer(values: Values, images: int) -> Sequence[Scored]:
        return [Scored(one.loss, 25 if values["zeta"] == 1 else 500) for one in evaluate(values, images)]

    trials = found(dearer, budget=2000, start={"zeta": 1.0})
    assert [(one.end, len(one.losses)) for one in trials] == [("whole", 16), ("budget", 4)]
    assert best_of(trials) is trials[0]


def test_a_search_begun_again_repeats_itself_and_a_larger_budget_goes_on_from_there() -> None:
    first = found(judged(bowl))
    again, more = found(judged(bowl)), found(judged(bowl), budget=25 * 16 * 30)
    assert again == first
    assert more[: len(first)] == first and len(more) > len(first)


def test_the_values_at_hand_come_first_and_others_have_three_digits() -> None:
    trials = found(judged(bowl), start={"zeta": 0.5})
    assert trials[0].values == {"zeta": 0.5}
    assert all(float(f"{one.values['zeta']:.3g}") == one.values["zeta"] for one in trials)


def test_a_failed_trial_is_paid_for_and_is_never_the_best() -> None:
    evaluate = judged(bowl)

    def failing(values: Values, images: int) -> Sequence[Scored]:
        scored = evaluate(values, images)
        return [Scored(None, 25), *scored[1:]] if values["zeta"] > 1 else scored

    trials = found(failing)
    assert {one.end for one in trials if one.values["zeta"] > 1} == {"failed"}
    assert {one.calls for one in trials if one.end == "failed"} == {100.0}  # of the first four images
    assert (best := best_of(trials)) is not None and 0.5 < best.values["zeta"] <= 1
    assert sum(one.calls for one in trials) <= 25 * 16 * 20


def test_a_budget_without_a_whole_trial_is_refused_after_a_batch() -> None:
    seen: list[int] = []
    with pytest.raises(UserError, match=r"^budget=300: a trial of 16 images takes about 400 calls; give more"):
        found(judged(bowl, seen=seen), budget=300)
    assert seen == [4]


def test_whole_numbers_stay_whole() -> None:
    space = space_of({"order": {"low": 1, "high": 9}, "eta": {"low": 0, "high": 1.0}}, "dps")
    trials = islice(search(space, {}, judged(lambda values: 0.0), Limits(16, 4, 10**4), seed=0), 8)
    orders = [one.values["order"] for one in trials]
    assert all(isinstance(order, int) and 1 <= order <= 9 for order in orders) and len(set(orders)) > 3


@pytest.mark.parametrize(
    "one",
    [
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 1.0},
        {"low": "a", "high": "b"},
        {"low": 0.1, "high": 1.0, "logg": True},
        [],
        [[1, 2]],
        3.0,
    ],
)
def test_an_unclear_axis_is_one_line(one: object) -> None:
    with pytest.raises(UserError, match=r"^method\.search\.zeta=.*: must be .*list of choices"):
        space_of({"zeta": one}, "dps")


def test_a_method_without_a_space_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^method\.search: ddnm has no space to search; add to its YAML"):
        space_of(None, "ddnm")

"""A chain of 1000 steps extrapolated from a short one whose times are made up."""

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.speed.measure import merge_labels
from ldsmc_bench.speed.setup import Kinds, extrapolate, plan_chain

START, STEP, LABELLED, LAST, AFTER = 5.0, 0.25, 0.5, 0.125, 2.0


def intervals(steps: int, switch: int) -> list[float]:
    """What a clock would show, move by move from k = steps-1 on."""
    moves = [LABELLED if k < switch else STEP for k in reversed(range(1, steps))]
    return [START + moves[0], *moves[1:], LAST, AFTER]


@pytest.mark.parametrize("s", [None, 0.0, 0.1, 0.333, 0.9, 1.0])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("steps", [6, 7, 8, 13])
def test_a_long_chain_is_the_sum_of_its_parts(s: float | None, inclusive: bool, steps: int) -> None:
    kinds, changes = plan_chain({"s": s, "switch_inclusive": inclusive}, steps)
    if s is not None:  # the sampler's own rule
        assert round(changes["s"] * steps) + inclusive == pytest.approx(kinds.switch, abs=1)
        assert round(s * 1000) + inclusive == pytest.approx(kinds.long_switch, abs=1)
    cost = extrapolate(intervals(kinds.steps, kinds.switch), kinds)
    assert cost["whole"] == pytest.approx(sum(intervals(1000, kinds.long_switch)))
    assert (cost["start"], cost["end"]) == (START, LAST + AFTER)


def test_both_kinds_occur_twice_between_the_first_and_the_last_move() -> None:
    for steps in range(6, 30):
        kinds, _ = plan_chain({"s": 0.333, "switch_inclusive": True}, steps)
        assert kinds.switch - 1 >= 2 and steps - 1 - kinds.switch >= 2


def test_a_step_that_costs_more_by_design_counts_as_often_as_it_comes() -> None:
    times = intervals(10, 5)
    times[2] += 8.0  # one of four steps without labels, k = 7
    cost = extrapolate(times, Kinds(10, 5, 333))
    assert cost["step"] == pytest.approx(STEP + 8 / 4) and cost["labelled"] == LABELLED
    assert cost["whole"] == pytest.approx(sum(intervals(1000, 333)) + 8 / 4 * (999 - 332) - 8 / 4)


def test_a_chain_with_more_moves_than_steps_has_more_at_1000_too() -> None:
    cost = extrapolate([1.0] * 13, Kinds(6, 0, 0))  # 12 moves and what comes after
    assert cost["whole"] == pytest.approx(2000 + 1)


def test_too_few_steps_and_several_sweeps_are_refused() -> None:
    with pytest.raises(UserError, match="steps=5: a chain is measured on at least 6"):
        plan_chain({"s": 0.3}, 5)
    with pytest.raises(UserError, match="gibbs_iterations"):
        extrapolate([1.0] * 17, Kinds(8, 4, 300))


def test_labels_that_come_before_the_chain_are_as_many_as_its_steps() -> None:
    chain = intervals(8, 4)
    each = [0.5, 0.25, 0.75, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert merge_labels([3.0, *each, *chain], len(each)) == [3.0 + 1000 * 0.5 + chain[0], *chain[1:]]

"""From a short chain to one of 1000 steps: what comes once, and what every step of its kind adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ldsmc_bench.errors import UserError

STEPS = 1000
LEAST = 6  # steps of a short chain: two of each kind besides the first and the last
SHORT, LONGER = 10, {"resample": 30}  # steps that are measured; more of a method that fits only now and then


@dataclass(frozen=True)
class Kinds:
    """Moves k = steps-1..0, of two kinds: labels guide those with k < switch."""

    steps: int
    switch: int


@dataclass(frozen=True)
class Estimate:
    """Of a chain of 1000 steps: what comes before its first step, a step without and with guidance by labels, and what
    its last step and all after it take; the whole. In the units of what was measured."""

    start: float
    step: float
    labelled: float
    end: float
    whole: float


def long_and_short(sample: Mapping[str, Any], steps: int) -> tuple[Kinds, Kinds, dict[str, Any]]:
    """The kinds of steps in a chain of 1000 and in one of `steps`, and what to change in a sampler's arguments so that
    the short one has steps of every kind that the long one has. Raises UserError where it is too short for that."""
    if steps < LEAST:
        raise UserError(f"steps={steps}: a chain is measured on at least {LEAST} steps; its time is told for {STEPS}")
    s, inclusive = sample.get("s"), int(sample.get("switch_inclusive", False))
    if s is None:
        return Kinds(STEPS, 0), Kinds(steps, 0), {}
    switch = round(s * STEPS) + inclusive
    if switch <= 1:
        return Kinds(STEPS, switch), Kinds(steps, inclusive), {"s": 0.0}
    if switch >= STEPS:
        return Kinds(STEPS, STEPS), Kinds(steps, steps), {"s": 1.0}
    half = steps // 2
    return Kinds(STEPS, switch), Kinds(steps, half), {"s": (half - inclusive) / steps}


def with_labels(intervals: Sequence[float], labels: int) -> Sequence[float]:
    """The intervals of a chain, of a pass where `labels` of them, after the first, are a label each that is made before
    the chain begins: what comes before its first step then has as many labels as the long chain."""
    if labels == 0:
        return intervals
    each, after = intervals[1 : labels + 1], intervals[labels + 1 :]
    return [intervals[0] + STEPS * fmean(each) + after[0], *after[1:]]


def extrapolated(intervals: Sequence[float], long: Kinds, short: Kinds) -> Estimate:
    """The long chain from the intervals of the short one: up to the end of its first move, of every other move, and
    after the last. The mean stands for a kind, since steps differ by design: a fit now and then, four labels at once,
    as many looks ahead as particles live on. Raises UserError where it has labels and more moves than steps: several
    sweeps."""
    moves = len(intervals) - 1
    if short.switch and moves != short.steps:
        raise UserError("method.sample: the benchmark follows one sweep: leave gibbs_iterations and islands at 1")
    between = list(enumerate(intervals[1:-2], start=1))  # interval i is of the move k = moves - 1 - i
    kinds = [
        [value for i, value in between if (moves - 1 - i < short.switch) == labelled] for labelled in (False, True)
    ]
    step, labelled = (fmean(values) if values else 0.0 for values in kinds)
    start = max(0.0, intervals[0] - (labelled if moves - 1 < short.switch else step))
    end = intervals[-2] + intervals[-1]
    all_moves = round(long.steps * moves / short.steps)  # some chains have more moves than steps
    with_labels = max(0, min(long.switch, all_moves) - 1)
    whole = start + step * (all_moves - 1 - with_labels) + labelled * with_labels + end
    return Estimate(start, step, labelled, end, whole)

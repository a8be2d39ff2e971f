"""In words: does a sampler draw from the posterior, and where does it fail?

An aspect fails on a problem where its distance is larger than chance makes it and larger than matters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ldsmc_bench.mixture.distances import Score
from ldsmc_bench.scoring.distances import Estimate, bootstrap

CHANCE = 4.0  # standard deviations
Scores = Mapping[str, Score]  # of a problem


@dataclass(frozen=True)
class Aspect:
    """Something that may be wrong. `of` is a number of a problem's score `by` a distance, and `perfect` for exact draws
    but for chance; further off than the `tolerance` matters. `text` is the number as text, `words` its meaning."""

    name: str
    by: str
    of: Callable[[Score], float]
    perfect: float
    tolerance: float
    text: str
    words: Callable[[float], str]

    def fails(self, scores: Scores) -> bool:
        """True if it is wrong on a problem."""
        score = scores[self.by]
        return score.apart >= CHANCE and abs(self.of(score) - self.perfect) > self.tolerance


def _relative(score: Score) -> float:
    return score.value / score.floor


def _share(perfect: float) -> Callable[[Score], float]:
    """The share of draws in a region, less what chance makes of it for exact draws."""
    return lambda score: score.value - score.floor + perfect


ASPECTS = (
    Aspect("distance", "sw1", _relative, 1, 0.35, "{:.2f}", lambda v: "times as far from the posterior as exact draws"),
    Aspect("classifier", "c2st", lambda one: one.value, 0.5, 0.05, "{:.0%}",
           lambda v: "of draws and exact ones are told apart; 50% is chance"),
    Aspect("spread", "hpd_50", _share(0.5), 0.5, 0.07, "{:.0%}",
           lambda v: "of the draws are in the densest half of the posterior"
           + _if(v - 0.5, 0.07, ": too far from its modes", ": too near to its modes")),
    Aspect("variance", "spread_ratio", _relative, 1, 0.15, "{:.2f}",
           lambda v: f"times the posterior's{_if(v - 1, 0.15, ': too narrow', ': too wide')}"),
    Aspect("tails", "hpd_90", lambda one: 1 - _share(0.9)(one), 0.1, 0.05, "{:.0%}",
           lambda v: f"of the draws are where the posterior has 10%{_if(v - 0.1, 0.05, ': too few', ': too many')}"),
    Aspect("mode weights", "mode_tv", _share(0), 0, 0.05, "{:.0%}",
           lambda v: "of the probability is in the wrong mode, beyond chance"),
    Aspect("bias", "mmse_gap", _share(0), 0, 0.2, "{:.2f}",
           lambda v: "dB: how much worse an estimate their mean is than the posterior mean, beyond chance"),
)  # fmt: skip


def _if(off: float, tolerance: float, below: str, above: str) -> str:
    return "" if abs(off) <= tolerance else below if off < 0 else above


@dataclass(frozen=True)
class Finding:
    """An aspect over all problems: its mean with an interval, the problems where it fails, and the worst of them."""

    aspect: Aspect
    mean: Estimate
    failed: Sequence[str]
    worst: str


def findings(problems: Mapping[str, Scores]) -> list[Finding]:
    """A finding on each aspect over `problems`, scores by name. The interval is a bootstrap over problems."""
    found = []
    for aspect in ASPECTS:
        values = {name: aspect.of(scores[aspect.by]) for name, scores in problems.items()}
        table = np.array(list(values.values()))
        failed = [name for name, scores in problems.items() if aspect.fails(scores)]
        worst = max(values, key=lambda name: abs(values[name] - aspect.perfect))
        found.append(Finding(aspect, interval(table), failed, worst))
    return found


def interval(values: np.ndarray) -> Estimate:
    """The mean of values (n,) with its bootstrap interval; of one value without."""
    if len(values) < 2:
        return Estimate(float(values.mean()), np.nan, np.nan, np.nan)
    return bootstrap(lambda counts: float(counts @ values / counts.sum()), len(values))


def verdict(problems: Mapping[str, Scores], draws: int) -> list[str]:
    """Lines: yes, nearly or no, and a line for each aspect."""
    found = findings(problems)
    wrong = sorted({name for one in found for name in one.failed})
    failing = [one.aspect.name for one in found if one.failed]
    shown = f"{draws} draws of each of {len(problems)} problems"
    if not wrong:
        head = f"yes: {shown} cannot be told from exact ones by more than matters"
    else:
        word = "nearly" if 4 * len(wrong) <= len(problems) else "no"
        head = f"{word}: wrong on {len(wrong)} of {len(problems)} problems, in {', '.join(failing)}"
    lines = [head]
    for one in found:
        value, low, high = (one.aspect.text.format(end) for end in (one.mean.value, one.mean.low, one.mean.high))
        line = f"  {one.aspect.name:12}  {value} [{low}, {high}] {one.aspect.words(one.mean.value)}"
        if one.failed:
            line += f"; fails on {len(one.failed)} of {len(problems)}, most on {one.worst}"
        lines.append(line)
    return lines

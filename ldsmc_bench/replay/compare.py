"""The distance of our values from recorded ones, and the part of it that rounding explains."""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ldsmc_bench.replay.recording import require_shape

TOLERANCE = 1e-3  # of whole runs; a larger deviation is not judged if rounding alone explains it
NUDGE = 1e-7  # relative, about float32's rounding
Values = Mapping[str, Tensor]


class Worst(dict[str, float]):
    """The largest deviation of each quantity."""

    def add(self, apart: Mapping[str, float]) -> None:
        """Take in deviations; a quantity of several steps is named `quantity/step`."""
        for name, value in apart.items():
            quantity = re.sub(r"/\d+$", "", name)
            self[quantity] = max(self.get(quantity, 0.0), value)


def deviation(name: str, mine: Tensor, reference: Tensor, least: float = 1e-12) -> float:
    """Largest absolute difference, relative to the reference's largest value or to `least`, if that is more; infinite
    if one is not a number. Raises UserError for another shape."""
    require_shape(name, reference, mine.shape)
    apart = (mine.double() - reference.double()).abs().max() / reference.double().abs().max().clamp(min=least)
    return float(apart.nan_to_num(nan=math.inf))


def runs(
    run: Callable[[Tensor], Values],
    start: Tensor,
    references: Values,
    *,
    moves: Sequence[float] = (0.0, NUDGE),
    least: Mapping[str, float] | None = None,
    chaos_of: str | None = None,
) -> tuple[Values, dict[str, float]]:
    """Values of the whole run from the recorded start, and the deviations from `references` that are judged.

    While no run is within the tolerance, others follow from starts that are moved by these relative `moves`. If none
    is, a deviation past it is left out, with a line on stderr, where these runs end as far from each other: rounding
    explains it. `least` is an argument of `deviation`; `chaos_of` is the value by which all of a run are chaotic.
    """
    values, found, least = list[Values](), list[dict[str, float]](), least or {}
    for relative in moves:
        ours = run(start * (1 + relative))
        values.append(ours)
        found.append({name: deviation(name, ours[name], kept, least.get(name, 0)) for name, kept in references.items()})
        if max(found[-1].values()) <= TOLERANCE:
            return values[0], found[-1]
    first, *others = values
    chaos = {
        name: max((deviation(name, other[name], first[name]) for other in others), default=0.0) for name in references
    }
    best = min(found, key=lambda apart: max(apart.values()))
    return first, judge(best, dict.fromkeys(chaos, chaos[chaos_of]) if chaos_of else chaos)


def judge(apart: dict[str, float], chaos: Mapping[str, float]) -> dict[str, float]:
    """The deviations without those past the tolerance that rounding explains, which are reported on stderr."""
    explained = {name for name, value in apart.items() if value > TOLERANCE and chaos.get(name, 0.0) > value / 10}
    for name in sorted(explained):
        report(name, apart[name], f"chaotic (a start moved by about rounding ends {chaos[name]:.2g} away)")
    return {name: value for name, value in apart.items() if name not in explained}


def report(name: str, apart: float, why: str) -> None:
    """Print a deviation that is not judged to stderr."""
    print(f"{name}: {apart:.2g}, not judged: {why}", file=sys.stderr)

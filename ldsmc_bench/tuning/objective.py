"""The objective of a search: a stored metric of an image, its logarithm, or a weighted sum of several."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol

KNOWN = {name: one for name, one in PROTOCOLS.items() if one.per == "image" and one.better != "none"}
TERM = re.compile(r"(?:(\d+\.?\d*(?:e-?\d+)?)\*)?(?:(\w+)|log\((\w+)\))")
TINY = 1e-12  # what logarithms are of at least


@dataclass(frozen=True)
class Objective:
    """A sum of metrics, or of their logarithms, each with a weight above 0."""

    terms: tuple[tuple[float, Protocol, bool], ...]

    def __str__(self) -> str:
        """As a formula: `toyfaces_perceptual + 0.01 |misfit - 1|`."""
        signs = {"lower": "{}", "higher": "-{}", "one": "|{} - 1|"}
        logs = {"lower": "log({})", "one": "|log({})|"}
        named = [(weight, (logs if log else signs)[one.better].format(one.name)) for weight, one, log in self.terms]
        return " + ".join(name if weight == 1 else f"{weight:g} {name}" for weight, name in named)

    @property
    def digits(self) -> int:
        """The decimals that tables give the first metric."""
        return self.terms[0][1].digits

    def of(self, metrics: Mapping[str, float | None]) -> float:
        """The value of an image with these metrics; lower is better. Raises UserError for one that is not there."""
        total = 0.0
        for weight, one, log in self.terms:
            if (value := metrics.get(one.name)) is None:
                there = [name for name in KNOWN if metrics.get(name) is not None]
                raise UserError(f"metric={one.name}: these runs do not have it; {nearest('', there)}")
            if log:
                value = math.log(max(value, TINY))
            total += weight * {"lower": value, "higher": -value, "one": abs(value - (not log))}[one.better]
        return total


def parse(text: str) -> Objective:
    """The objective that `psnr+0.1*misfit` or `log(sw1_ratio)` describes. Raises UserError for anything else."""
    terms = []
    for part in text.replace(" ", "").split("+"):
        if not (found := TERM.fullmatch(part)) or float(found[1] or 1) == 0:
            raise UserError(f"metric={text}: write a metric, or a weighted pair as toyfaces_perceptual+0.01*misfit")
        if (name := found[2] or found[3]) not in KNOWN:
            raise UserError(f"metric={name}: no metric of an image to tune for; {nearest(name, KNOWN)}")
        if found[3] and KNOWN[name].better == "higher":
            raise UserError(
                f"metric=log({name}): higher is better of it, and so it has no logarithm here; leave log out"
            )
        terms.append((float(found[1] or 1), KNOWN[name], bool(found[3])))
    return Objective(tuple(terms))

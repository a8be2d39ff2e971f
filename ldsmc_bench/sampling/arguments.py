"""Types of samplers' arguments with their ranges: what `settings` checks before a run starts."""

import math
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Between:
    """A closed range, for `Annotated`; infinite ends are open."""

    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: Any) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}" if math.isfinite(self.high) else f"of at least {self.low}"


Count = Annotated[int, Between(1)]
Natural = Annotated[int, Between(0)]
Fraction = Annotated[float, Between(0, 1)]
NonNegative = Annotated[float, Between(0)]
Positive = Annotated[float, Between(1e-300)]

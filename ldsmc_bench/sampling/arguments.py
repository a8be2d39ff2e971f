"""Arguments of samplers: their types with ranges, checked before a run starts, and dataclasses of many of them."""

from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import Annotated, Any, TypeVar

from pydantic import Field

R = TypeVar("R")

# The description completes the line of a wrong value: `particles=0: must be a whole number of at least 1`.
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Natural = Annotated[int, Field(ge=0, description="a whole number of at least 0")]
Fraction = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]
NonNegative = Annotated[float, Field(ge=0, description="a number of at least 0")]
Positive = Annotated[float, Field(gt=0, description="a number above 0")]


def takes(choices: type) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a sampler with many arguments the fields of a frozen, keyword-only dataclass as its keyword arguments.

    The decorated function takes one `choices` as its last argument; the sampler made of it takes each field by name,
    and has it in its signature with type and default: configuration and run ids see no difference.
    """

    def decorate(sample: Callable[..., R]) -> Callable[..., R]:
        @wraps(sample)
        def sampler(*problem: Any, **arguments: Any) -> R:
            return sample(*problem, choices(**arguments))

        *problem, _ = signature(sample).parameters.values()
        parameters = [*problem, *signature(choices).parameters.values()]
        sampler.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        sampler.__annotations__ = {p.name: p.annotation for p in parameters}
        return sampler

    return decorate

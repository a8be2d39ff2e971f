"""A dataclass of arguments is to the configuration what a signature is."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, get_type_hints

import pytest

from ldsmc_bench.records.identity import complete_arguments, sampler_arguments
from ldsmc_bench.sampling.arguments import Count, Fraction, takes


@dataclass(frozen=True, kw_only=True)
class Base:
    steps: Count
    eta: Fraction = 1.0


@dataclass(frozen=True, kw_only=True)
class Choices(Base):
    mode: str = "a"


@takes(Choices)
def gathered(prior: object, trace: object, choices: Choices) -> Any:
    return prior, trace, choices


def written_out(prior: object, trace: object, *, steps: Count, eta: Fraction = 1.0, mode: str = "a") -> Any: ...


def test_the_configuration_sees_each_argument_with_type_and_default() -> None:
    mine, expected = sampler_arguments(gathered), sampler_arguments(written_out)
    assert mine == expected
    assert get_type_hints(gathered, include_extras=True).items() >= get_type_hints(
        written_out, include_extras=True
    ).items() - {("return", Any)}
    assert list(inspect.signature(gathered).parameters) == list(inspect.signature(written_out).parameters)
    assert complete_arguments({"_target_": f"{__name__}.gathered", "steps": 3}) == {"steps": 3, "eta": 1.0, "mode": "a"}


def test_it_is_called_with_the_arguments_by_name() -> None:
    assert partial(gathered, steps=3)("prior", "trace", mode="b") == ("prior", "trace", Choices(steps=3, mode="b"))
    with pytest.raises(TypeError, match="setps"):
        gathered("prior", "trace", setps=3)

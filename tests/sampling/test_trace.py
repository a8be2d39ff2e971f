from typing import Any

import pytest
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.sampling.trace import Trace


def test_only_what_was_asked_for_is_kept() -> None:
    ticks: list[int] = []
    trace = Trace(keep=["ess"], tick=lambda: ticks.append(1))
    for step in (2, 1, 0):
        trace(step, ess=torch.tensor([step, 10.0 + step]), z=torch.zeros(2, 3))
    assert trace.per_image() == [{"ess": [2, 1, 0]}, {"ess": [12, 11, 10]}]
    assert len(ticks) == 3


def test_nothing_kept_is_no_image() -> None:
    assert Trace().per_image() == []


@pytest.mark.parametrize(
    "name, value, got",
    [
        ("ess", 3.0, "float"),
        ("ess", torch.tensor(3.0), "()"),
        ("ess", torch.ones(4), "(4,)"),
        ("log_weights", torch.ones(2), "(2,)"),
        ("log_weights", torch.ones(6, 1), "(6, 1)"),
        ("spread", torch.ones(2, 4, 4), "(2, 4, 4)"),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(name: str, value: Any, got: str) -> None:
    trace = Trace(["ess", "log_weights", "spread"], rows=2)
    trace(1, z=1.0, ess=torch.ones(2), log_weights=torch.ones(2, 5), spread=torch.ones(2, 3, 4, 4))  # z is not kept
    with pytest.raises(UserError, match=rf"trace\({name}=...\) takes a tensor of shape \(2.*; it got ") as error:
        trace(0, **{name: value})
    assert str(error.value).endswith(f"it got {got}")

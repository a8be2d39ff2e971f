"""What a user's code leaves behind in the process, and what of it is put back."""

import gc
import os
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ldsmc_bench.guard import STATE, unchanged
from tests.running.leaks import HELD, LEFT


def plain(value: Any) -> Any:
    """With lists for arrays, so that values can be compared."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value


def state() -> list[Any]:
    """All of it that can be read."""
    found: list[Any] = [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), gc.isenabled(), gc.get_threshold()]
    found += [list(sys.path), len(_get_current_function_mode_stack()), len(_get_current_dispatch_mode_stack())]
    for get, _ in STATE:
        with suppress(AttributeError):
            found.append(plain(get()))
    return found


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_behind_is_put_back(what: str) -> None:
    before = state()
    with unchanged(seed=3):
        LEFT[what]()
    HELD.clear()
    assert state() == before
    assert torch.ones(1).device.type == "cpu"


def test_a_default_device_leaves_no_mode_behind() -> None:
    """One that says cpu would make every new tensor slower."""
    with unchanged():
        torch.set_default_device("meta")
    assert not _get_current_function_mode_stack()


def test_a_folder_of_modules_that_is_added_hides_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    for _ in range(2):
        with unchanged():
            sys.path.insert(0, "theirs")
    assert sys.path == [*before, "theirs"]


def test_an_error_and_a_folder_that_is_gone_are_no_hindrance(tmp_path: Path) -> None:
    here = os.getcwd()
    with pytest.raises(KeyError), unchanged():
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        torch.set_default_dtype(torch.float64)
        raise KeyError
    assert os.getcwd() == here and torch.get_default_dtype() == torch.float32


def test_global_generators_follow_the_seed_inside() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        with unchanged(seed):
            return random.random(), np.random.rand(), float(torch.rand(()))

    assert drawn(1) == drawn(1)
    assert all(a != b for a, b in zip(drawn(1), drawn(2), strict=True))


def test_autograd_works_inside_as_it_did_outside() -> None:
    with torch.no_grad(), unchanged():
        assert not torch.is_grad_enabled()
    with unchanged():
        x = torch.ones(1, requires_grad=True)
        assert torch.autograd.grad((x * 3).sum(), x)[0] == 3

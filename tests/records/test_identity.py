"""The identity of a run: the same for equal configurations however they were written, another for any other."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import canonical
from ldsmc_bench.records.identity import run_id

IDENTITY: dict[str, Any] = {
    "method": {"name": "ldsmc", "kappa1": 1.0, "kappa2": 0.1, "variant": "paper"},
    "task": {"name": "freeform", "hole": [0.1, 0.2]},
    "dataset": {"name": "toyfaces", "digest": "ab12"},
    "seed": 0,
    "steps": 100,
    "protocol": 1,
}


def changed(**entries: Any) -> dict[str, Any]:
    return {**IDENTITY, **entries}


def test_the_name_is_the_hash_of_a_text_that_anyone_can_write_by_hand():
    text = '{"dataset":"toyfaces","method":{"kappa":0.1,"name":"ldsmc","rho":2},"task":"freeform"}'
    identity = {"task": "freeform", "method": {"name": "ldsmc", "rho": 2.0, "kappa": 0.1}, "dataset": "toyfaces"}
    assert canonical(identity) == text
    assert run_id(identity) == f"ldsmc-freeform-toyfaces-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(IDENTITY.items())),
        changed(method=dict(reversed(IDENTITY["method"].items()))),
        changed(steps=100.0, seed=-0.0),
        changed(method={**IDENTITY["method"], "kappa1": 1}),
        changed(method={**IDENTITY["method"], "kappa2": np.float64(0.1)}),
        changed(method={**IDENTITY["method"], "kappa2": 1e-1}),
        changed(task={"name": "freeform", "hole": (0.1, 0.2)}),
        json.loads(json.dumps(IDENTITY)),
    ],
)
def test_equal_configurations_are_one_run(same):
    assert run_id(same) == run_id(IDENTITY)


@pytest.mark.parametrize(
    "other",
    [
        changed(seed=1),
        changed(steps=99),
        changed(protocol=2),
        changed(seed="0"),
        changed(seed=False),
        changed(seed=None),
        changed(precision="fp64"),
        changed(task={"name": "freeform", "hole": [0.2, 0.1]}),
        changed(task={"name": "freeform", "hole": [0.1, 0.2000000000000001]}),
        changed(dataset={"name": "toyfaces", "digest": "ab13"}),
        changed(method={**IDENTITY["method"], "name": "psld"}),
        {key: value for key, value in IDENTITY.items() if key != "seed"},
    ],
)
def test_any_difference_makes_another_run(other):
    assert run_id(other) != run_id(IDENTITY)


def test_the_name_can_name_a_folder():
    name = run_id({"method": "my method/2", "task": "Gaussian blur", "dataset": {"name": "../faces"}})
    assert name.startswith("my_method_2-Gaussian_blur-.._faces-")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_by_its_key(value):
    with pytest.raises(UserError, match=r"method\.limits\[1\]=-?(nan|inf) "):
        run_id(changed(method={"name": "ldsmc", "limits": [0.0, value]}))


@pytest.mark.parametrize("value", [{1, 2}, object(), np.int64(3), np.zeros(2), b"bytes", {1: "one"}])
def test_what_json_cannot_hold_is_refused_by_its_key(value):
    with pytest.raises(UserError, match=r"task\.thing=.* cannot be part of a run"):
        run_id(changed(task={"name": "box", "thing": value}))

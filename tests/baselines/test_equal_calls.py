"""The space of a tuner: which arguments of a method change what a draw costs."""

from functools import cache

import pytest
from hydra.utils import get_object
from omegaconf import ListConfig

from ldsmc_bench.config import validate
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.sampling.trace import Trace
from tests.commands import choices, configured
from tests.sampling.known import Known, known

STEPS = 10  # enough for the first and the last levels of MGDM
SLIGHT = 0.15  # a particle without offspring saves a call or two


@cache
def problem() -> Known:
    return known("single", 4, steps=100)


@pytest.mark.parametrize("name", choices("method"))
def test_equal_calls_leaves_out_of_a_search_the_arguments_that_change_them_and_no_others(name: str) -> None:
    cfg = configured(f"method={name}", "dataset=mixture", f"steps={STEPS}", "particles=2")
    settings = validate(cfg)
    sample = get_object(cfg.method.sample._target_)

    def calls(**chosen: object) -> int:
        taken = problem()
        counted = CallCounter(taken.prior.conditioned([taken.number]))
        sample(counted, taken.measurement, Noise(0, ["a"], "sampler"), Trace(), **settings.sample | chosen)
        return counted.calls["denoiser_forward"]

    usual = calls()
    for key, space in cfg.method.search.items():
        ends = space if isinstance(space, ListConfig) else [space.low, space.high]
        changed = any(abs(calls(**{key: end}) / usual - 1) > SLIGHT for end in ends)
        assert changed == (not isinstance(space, ListConfig) and space.get("calls", False)), key

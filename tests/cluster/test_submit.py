"""What SLURM is asked for a method."""

import pytest

from ldsmc_bench.cluster.submit import Point, parameters, require_times
from ldsmc_bench.errors import UserError

COMMON = {"mem_gb": 32, "timeout_min": 240, "by_method": {"ldsmc": {"mem_gb": 64}, "dps": {"memgb": 8}, "psld": None}}


def test_a_method_may_have_resources_of_its_own() -> None:
    assert parameters(COMMON, "ldsmc") == {"mem_gb": 64, "timeout_min": 240}
    assert parameters(COMMON, "psld") == parameters(COMMON, "") == {"mem_gb": 32, "timeout_min": 240}


def test_a_wrong_key_is_named_with_the_right_one() -> None:
    with pytest.raises(UserError, match=r"^hydra\.launcher\.by_method\.dps\.memgb: no such .*did you mean mem_gb\?$"):
        parameters(COMMON, "dps")


def test_a_run_reaches_its_limit_before_its_job_is_queued_again() -> None:
    points = [Point(0, [], "dps", None), Point(1, [], "ldsmc", 58)]
    require_times({"timeout_min": 61, "signal_delay_s": 120}, points)
    with pytest.raises(UserError, match=r"^time_limit=58: .* 120 s before timeout_min=60, .*; make it less"):
        require_times({"timeout_min": 60, "signal_delay_s": 120}, points)
    require_times({"timeout_min": 60, "signal_delay_s": 120}, points[:1])

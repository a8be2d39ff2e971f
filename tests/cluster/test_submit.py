"""What SLURM is asked for a method."""

import pytest

from ldsmc_bench.cluster.submit import parameters
from ldsmc_bench.errors import UserError

COMMON = {"mem_gb": 32, "timeout_min": 240, "by_method": {"ldsmc": {"mem_gb": 64}, "dps": {"memgb": 8}, "psld": None}}


def test_a_method_may_have_resources_of_its_own() -> None:
    assert parameters(COMMON, "ldsmc") == {"mem_gb": 64, "timeout_min": 240}
    assert parameters(COMMON, "psld") == parameters(COMMON, "") == {"mem_gb": 32, "timeout_min": 240}


def test_a_wrong_key_is_named_with_the_right_one() -> None:
    with pytest.raises(UserError, match=r"^hydra\.launcher\.by_method\.dps\.memgb: no such .*did you mean mem_gb\?$"):
        parameters(COMMON, "dps")

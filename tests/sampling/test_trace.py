import torch

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

"""The sampler that users run, driven by the recorded random numbers of the public DPS code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.replay import compare, dps
from ldsmc_bench.replay.__main__ import REPLAYS, tolerance
from ldsmc_bench.replay.recording import read

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRACE = FIXTURES / "traces" / "dps_box_seed0.safetensors"
CHECKPOINT = FIXTURES / "guided_diffusion"
STEPS = {"step/x_t", "step/out", "step/x_0_hat"}


def test_the_released_variant_repeats_the_recorded_run() -> None:
    worst = REPLAYS["dps"](*read(TRACE), CHECKPOINT)
    assert {*STEPS, "betas", "timestep_map"} <= set(worst)  # and, where rounding does not decide it, the whole run
    assert all(value < tolerance(name) for name, value in worst.items())
    assert max(worst[name] for name in ("betas", "timestep_map", "step/x_t", "step/x_0_hat")) < 1e-5


def test_another_step_size_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dps, "MOVED", (0.0,))
    recording, facts = read(TRACE)
    worst = dps.replay(recording, facts | {"zeta": 0.505}, CHECKPOINT)
    assert worst["step/out"] > 10 * tolerance("step/out")
    assert worst["x_final"] > 1e-2


@pytest.mark.parametrize("changes", [("scaling", "squared_norm"), ("clip", False), ("transition", "small")])
def test_another_variant_is_told_apart(changes: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By single steps: a whole run is told apart in the test before."""
    monkeypatch.setattr(compare, "runs", lambda *_, **__: ({}, {}))
    chosen = dps.released
    monkeypatch.setattr(dps, "released", lambda *overrides: chosen(*overrides) | dict([changes]))
    worst = dps.replay(*read(TRACE), CHECKPOINT)
    assert max(worst[name] for name in STEPS) > 1e-2


def judged(*deviations: float) -> dict[str, float]:
    """Deviations of runs that end so far from the recorded one."""
    ends = iter(deviations)

    def run(start: Tensor) -> dict[str, Tensor]:
        end = torch.tensor([1.0 + next(ends)], dtype=torch.float64)
        return {"x_final": end, "out": end}

    recorded = dict.fromkeys(("x_final", "out"), torch.ones(1, dtype=torch.float64))
    moves = [0.0] * len(deviations)
    return compare.runs(run, torch.zeros(1), recorded, moves=moves, chaos_of="x_final")[1]


def test_what_rounding_decides_is_told_and_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that rounding moves as far as it is off may be the recorded one; one that stays where it is, is not."""
    assert judged(0.5, 0.2, 0.3) == {}
    assert "chaotic" in capsys.readouterr().err
    assert judged(0.2, 0.201, 0.199) == {"x_final": pytest.approx(0.199), "out": pytest.approx(0.199)}
    assert judged(0.2, 1e-4) == {"x_final": pytest.approx(1e-4), "out": pytest.approx(1e-4)}

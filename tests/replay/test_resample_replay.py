"""The sampler that users run, driven by the recorded random numbers of the public ReSample code."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.replay import compare
from ldsmc_bench.replay.latent import replay_resample as replay
from ldsmc_bench.replay.recording import Recording, read

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRACE = FIXTURES / "traces" / "resample_box_seed0.safetensors"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"


def unfinished() -> tuple[Recording, dict[str, Any]]:
    """The recording without its last fit, which takes most of the time and is chaotic."""
    recording, facts = read(TRACE)
    del recording["z_final"], recording["x_final"]
    return recording, facts


@pytest.mark.slow
def test_the_whole_recording_is_judged_but_for_the_last_fit(capsys: pytest.CaptureFixture[str]) -> None:
    worst = replay(*read(TRACE), CHECKPOINT)
    assert {"pred_z0", "step/pred_z0", "fit/pred_z0", "step/x_final"} <= set(worst)
    assert worst["step/x_final"] < 1e-5
    told = capsys.readouterr().err
    assert all(f"{name}: " in told for name in {"z_final", "x_final"} - set(worst))


def test_the_released_variant_repeats_the_recorded_run() -> None:
    """Steps from recorded values to float32's rounding; what follows the fit of pixels to 2000 steps of AdamW's."""
    worst = replay(*unfinished(), CHECKPOINT)
    assert worst["step/pred_z0"] < 1e-5
    assert max(worst[name] for name in ("pred_z0", "fit/pred_z0")) < 1e-3
    assert all(worst[f"step/{name}"] < 1e-6 for name in ("timesteps", "ddim_alphas", "ddim_alphas_prev", "ddim_sigmas"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fact",
    [
        {"eta": 0.2},
        {"gamma": 45.0},
        {"guidance": 0.4},
        {"ahead": 4},
        {"pixel_lr": 0.02},
    ],
)
def test_other_choices_are_told_apart(fact: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "runs", partial(compare.runs, moves=(0.0,)))  # one run, and nothing is called chaotic
    recording, facts = unfinished()
    assert max(replay(recording, facts | fact, CHECKPOINT).values()) > 2e-3


@pytest.mark.slow
def test_a_wrong_draw_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "runs", partial(compare.runs, moves=(0.0,)))
    recording, facts = unfinished()
    last: Tensor = recording["noise/0015"]  # that of resampling
    recording["noise/0015"] = last + 0.1 * torch.ones_like(last)
    assert replay(recording, facts, CHECKPOINT)["fit/pred_z0"] > 2e-3


def test_a_run_of_another_length_is_told_apart() -> None:
    recording, facts = unfinished()
    assert replay(recording, facts | {"steps": 25}, CHECKPOINT)["step/timesteps"] == float("inf")

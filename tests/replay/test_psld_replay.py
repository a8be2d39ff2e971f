"""The sampler that users run, driven by the recorded random numbers of the public PSLD code."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.replay import compare
from ldsmc_bench.replay.latent import psld_noise
from ldsmc_bench.replay.latent import replay_psld as replay
from ldsmc_bench.replay.recording import read
from tests.commands import start

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRACE = FIXTURES / "traces" / "psld_box_seed0.safetensors"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"
TABLES = {f"step/{name}" for name in ("timesteps", "ddim_alphas", "ddim_alphas_prev", "ddim_sigmas")}


def test_the_released_variant_repeats_the_recorded_run() -> None:
    worst = replay(*read(TRACE), CHECKPOINT)
    assert set(worst) == TABLES | {"step/pred_z0", "step/x_final", "pred_z0", "z_final", "x_final"}
    assert max(worst.values()) < 1e-5


@pytest.mark.parametrize(
    "fact",
    [
        {"omega": 0.105},
        *(
            pytest.param(fact, marks=pytest.mark.slow)
            for fact in ({"ema": True}, {"gamma": 0.11}, {"eta": 0.95}, {"transpose": "adjoint"})
        ),
    ],
)
def test_another_computation_is_told_apart(fact: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "runs", partial(compare.runs, moves=(0.0,)))  # one run, and nothing is called chaotic
    recording, facts = read(TRACE)
    assert max(replay(recording, facts | fact, CHECKPOINT).values()) > 2e-3


def test_a_table_of_another_length_is_told_apart() -> None:
    recording, facts = read(TRACE)
    recording = recording | {name: recording[name][:-1] for name in ("timesteps", "ddim_alphas")}
    worst = replay(recording, facts, CHECKPOINT)
    assert worst["step/timesteps"] == worst["step/ddim_alphas"] == float("inf")


def test_noise_on_the_prediction_is_drawn_after_a_steps_own() -> None:
    recording = {f"noise/{i:04d}": torch.full((1, 3, 2 + i % 2, 2), float(i)) for i in range(4)}
    noise = psld_noise(recording, torch.zeros(1, 3, 2, 2), prediction_noise=True)
    for step in range(2):
        assert noise.normal("prediction", (3, 3, 2)).unique().item() == 2 * step + 1
        assert noise.normal("proposal", (3, 2, 2)).unique().item() == 2 * step


def test_an_unknown_gluing_is_refused() -> None:
    recording, facts = read(TRACE)
    with pytest.raises(UserError, match="transpose=upside down"):
        replay(recording, facts | {"transpose": "upside down"}, CHECKPOINT)


def test_the_command(tmp_path: Path) -> None:
    done = start(tmp_path, str(TRACE), "--checkpoint", str(CHECKPOINT), module="ldsmc_bench.replay").done()
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["x_final"] < 1e-4

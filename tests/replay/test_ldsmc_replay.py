"""The sampler that users run, driven by the recorded random numbers of the public LD-SMC code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ldsmc_bench.replay.ldsmc import replay
from ldsmc_bench.replay.recording import read

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRACE = FIXTURES / "traces" / "ldsmc_box_seed0.safetensors"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"


def test_the_released_variant_repeats_the_recorded_run() -> None:
    recording, facts = read(TRACE)
    del recording["x_rec_opt"]  # two costly fits; the command below does them
    worst = replay(recording, facts, CHECKPOINT)
    weights = ("z0_hat", "log_lik_y0", "prior_mean", "prior_std", "pi_std")
    steps = {"step/prior_mean", "step/z0_hat", "step/mean", *(f"step/weights/{name}" for name in weights)}
    assert {"x_rec", "z", "mean", "log_weights", *steps} == set(worst)
    assert max(worst[name] for name in ("x_rec", "z", "mean", *steps)) < 1e-5
    assert worst["log_weights"] < 1e-3  # the recorded ones are float32, of size 30 with differences below 1


@pytest.mark.parametrize("fact", [{"kappa1": 1.05}, {"rho": 0.7}, {"switch_step": 6}, {"eta": 0.95}, {"ema": True}])
def test_another_computation_is_told_apart(fact: dict[str, float]) -> None:
    recording, facts = read(TRACE)
    del recording["x_rec_opt"]  # two costly fits that tell nothing here
    assert max(replay(recording, facts | fact, CHECKPOINT).values()) > 1e-2


def test_the_command() -> None:
    command = [sys.executable, "-m", "ldsmc_bench.replay", str(TRACE), "--checkpoint", str(CHECKPOINT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["x_rec"] < 1e-4
    assert "x_rec_opt" in json.loads(done.stdout) or "chaotic" in done.stderr


def test_a_file_that_is_no_recording(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing")
    command = [sys.executable, "-m", "ldsmc_bench.replay", str(wrong), "--checkpoint", str(CHECKPOINT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert str(wrong) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

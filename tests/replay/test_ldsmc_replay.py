"""The sampler that users run, driven by the recorded random numbers of the public LD-SMC code."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.errors import UserError
from ldsmc_bench.replay import ldsmc
from ldsmc_bench.replay.compare import deviation
from ldsmc_bench.replay.ldsmc import arguments, between_codes, compare_steps, labels, replay, weighed
from ldsmc_bench.replay.recording import Recording, latent_problem, measurement_of, of, read
from ldsmc_bench.sampling.chain import CHAINS
from ldsmc_bench.sampling.fits import pixel_fit
from ldsmc_bench.sampling.ldsmc import FITS, label_latents
from tests.commands import start

FIXTURES = Path(__file__).parent.parent / "fixtures"
TRACE = FIXTURES / "traces" / "ldsmc_box_seed0.safetensors"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"
QUICK = {"000", "006", "007", "008", "019", "first"}  # steps that are looked at where some suffice


def unfitted(steps: set[str] | None = None) -> tuple[Recording, dict[str, Any]]:
    """The recording without its last fit, which is costly; of these steps alone."""
    recording, facts = read(TRACE)
    for key in [*recording]:
        group, _, rest = key.partition("/")
        if key == "x_rec_opt" or (steps and group in ("prop", "weights") and rest.partition("/")[0] not in steps):
            del recording[key]
    return recording, facts


def test_the_released_variant_repeats_the_recorded_run() -> None:
    """Steps from recorded values and the whole run, whatever the number of threads; a label with a vector that lies
    between two codes may have either, and the weights of that step, which follow from it, are then not judged. Of all
    steps, the command is tested."""
    worst = replay(*unfitted(QUICK), CHECKPOINT)
    weights = ("z0_hat", "log_lik_y0", "prior_mean", "prior_std", "pi_std")
    steps = {"step/prior_mean", "step/z0_hat", "step/mean", *(f"step/weights/{name}" for name in weights)}
    assert {"x_rec", "z", "mean", "log_weights", "ys", *steps} == set(worst)
    assert max(worst[name] for name in ("x_rec", "z", "mean", "ys", *steps)) < 1e-5
    assert worst["log_weights"] < 1e-3  # the recorded ones are float32, of size 30 with differences below 1


@pytest.mark.parametrize("fact", [{}, {"kappa1": 1.05}, {"rho": 0.7}, {"ema": True}, {"switch_step": 6}, {"eta": 0.95}])
def test_another_computation_is_told_apart_at_a_step(fact: dict[str, float]) -> None:
    recording, facts = unfitted(QUICK)
    prior, measurement = latent_problem(recording, facts | fact, CHECKPOINT)
    worst = max(compare_steps(prior, measurement, recording, arguments(facts | fact)).values())
    assert worst > 1e-3 if fact else worst < 1e-5


@torch.no_grad()
def test_a_label_may_have_either_of_two_codes_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of codes that are somewhat further apart than rounding."""
    recording, facts = read(TRACE)
    prior = replace(compvis.load(CHECKPOINT, ema=False), alpha_bar=recording["alphas_cumprod"].double())
    y, start = measurement_of(recording, facts, 64), prior.encode(recording["x_rec"])
    chosen = {"chain": "released", "steps": 20, "eta": 1.0}
    draws = iter(of(recording, "auxiliary_noise"))
    path = label_latents(CHAINS["released"](prior.alpha_bar, 20, 1.0), start, lambda: next(draws))
    latents = dict(zip(range(20, 0, -1), path, strict=True))
    recorded = {f"prop/{k:03d}/y_t": y.operator(prior.decode(z)) for k, z in latents.items() if k < 20}

    def found(label: torch.Tensor) -> tuple[float, dict[int, float]]:
        return labels(prior, y, Recording(recording | recorded | {"prop/008/y_t": label}), chosen, start)

    ours = recorded["prop/008/y_t"]
    nearness = between_codes(prior, latents[8])[1]
    monkeypatch.setattr(ldsmc, "UNDECIDED", 1.5 * nearness)
    other = y.operator(prior.decode(between_codes(prior, latents[8])[0][0]))
    assert (other - ours).abs().max() > 0.01
    for label in (ours, other):
        apart, undecided = found(label)
        assert apart < 1e-5 and undecided[8] == nearness
    assert found(ours + 0.1)[0] > 1e-2
    monkeypatch.setattr(ldsmc, "UNDECIDED", 0.0)
    apart, undecided = found(other)
    assert apart > 1e-3 and not undecided


def test_weights_of_an_undecided_label_are_told_and_all_others_judged(capsys: pytest.CaptureFixture[str]) -> None:
    z, weights = torch.ones(3, 3, 2, 2), torch.tensor([[-1.0, 0.5, 0.5]])
    values = {"z": {7: z, 8: z}, "mean": {7: z, 8: z}, "log_weights": {7: weights, 8: weights}}
    same = Recording(
        {
            f"weights/{k:03d}/{name}": value
            for k in (7, 8)
            for name, value in (("z", z), ("log_weights", weights[0] + 3))
        }
    )
    for k in (7, 8):
        off = Recording(same | {f"weights/{k:03d}/log_weights": weights[0] + torch.tensor([0.0, 0.0, 0.04])})
        assert weighed(values, off, {})["log_weights"] > 0.01
        assert weighed(values, off, {8: 1e-6})["log_weights"] == (0 if k == 8 else pytest.approx(0.0267, abs=1e-3))
    assert weighed(values, same, {8: 1e-6}) == {"z": 0, "log_weights": 0}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "weights/008/log_weights: 0.026, not judged: rounding decides between two codes of its label"
    )


def test_a_vector_in_the_middle_of_two_codes_may_have_either() -> None:
    prior = compvis.load(CHECKPOINT, ema=False)
    codes, scale = prior.codec.codebook, prior.codec.scale
    far = codes[torch.arange(256) % len(codes)].T.reshape(1, 3, 16, 16) * scale
    assert between_codes(prior, far)[0] == []
    apart = torch.cdist(codes, codes) + 1e9 * torch.eye(len(codes))
    first, second = divmod(int(apart.argmin()), len(codes))  # nothing lies between the nearest two
    between = far.clone()
    between[0, :, 3, 5] = (0.5 + 1e-7) * codes[first] * scale + (0.5 - 1e-7) * codes[second] * scale
    (other,), behind = between_codes(prior, between)
    assert behind < 1e-5
    places = ((other - between).abs() > 1e-3).any(dim=1).nonzero()
    assert places.tolist() == [[0, 3, 5]]


@pytest.mark.parametrize("name", ["y", "mask", "proposal_noise/000"])
def test_tensors_of_another_shape_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FITS, "adamw", partial(pixel_fit, iterations=1))  # before any draw is needed
    recording, facts = unfitted()
    twice = Recording(recording | {name: torch.cat([recording[name]] * 2)})
    with pytest.raises(UserError, match="shape") as raised:
        replay(twice, facts, CHECKPOINT)
    assert name.split("/")[0].removesuffix("_noise") in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_not_a_number_is_infinitely_far() -> None:
    assert deviation("x", torch.zeros(2), torch.tensor([torch.nan, 1.0])) == float("inf")


def test_nothing_is_compared_by_broadcasting() -> None:
    """A recording of two sweeps, say, that holds an image of each."""
    one, two = torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    for mine, reference in ((one, two), (two, one), (one, one[0])):
        with pytest.raises(UserError, match=r"^x_rec: was recorded of shape .*; the replay has"):
            deviation("x_rec", mine, reference)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    done = start(tmp_path, str(TRACE), "--checkpoint", str(CHECKPOINT), module="ldsmc_bench.replay").done()
    assert done.code == 0
    assert json.loads(done.out)["x_rec"] < 1e-4
    assert "x_rec_opt" in json.loads(done.out) or "chaotic" in done.err


def test_a_file_that_is_no_recording_or_lacks_a_tensor_is_one_line(tmp_path: Path) -> None:
    wrong, poor = tmp_path / "wrong.safetensors", tmp_path / "poor.safetensors"
    wrong.write_bytes(b"nothing")
    recording, facts = read(TRACE)
    del recording["y"]
    save_file(recording, poor, {"trace": json.dumps(facts)})
    for path, said in ((wrong, "not a recorded run"), (poor, "y: the recording lacks it")):
        done = start(tmp_path, str(path), "--checkpoint", str(CHECKPOINT), module="ldsmc_bench.replay").done()
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert str(path) in line and said in line

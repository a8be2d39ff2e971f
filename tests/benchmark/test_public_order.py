"""The public code's order does the same work as the project's own sampler: the same draws give the same images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ldsmc_bench.benchmark import public_order
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior import compvis, schedule
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.replay.ldsmc import DRAWS
from ldsmc_bench.replay.recording import RecordedNoise, deviation, of, operator, read, released
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace

FIXTURES = Path(__file__).parent.parent / "fixtures"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"
TRACE = FIXTURES / "traces" / "ldsmc_box_seed0.safetensors"


def choices(**changes: Any) -> dict[str, Any]:
    """The released variant's; its fit of pixels is the quick one, which both sides have in common anyway."""
    return released("steps=6", "particles=3") | {"pixel_fit": "least_squares", "s": 0.4} | changes


@pytest.fixture(scope="module")
def prior() -> compvis.LatentPrior:
    """The smallest prior with a quantiser and a UNet of convolutions and attention."""
    return replace(compvis.load(CHECKPOINT, ema=False), alpha_bar=schedule.scaled_linear())


def posed(prior: Any) -> Measurement:
    generator = torch.Generator().manual_seed(0)
    side = prior.image_size
    x = torch.rand((1, 3, side, side), generator=generator) * 2 - 1
    mask = (torch.rand((1, 1, side, side), generator=generator) < 0.5).float()
    return Measurement(mask * x, Mask(mask), 0.01)


@pytest.mark.parametrize("changes", [{}, {"particles": 1}, {"rho": 0.3, "kappa1": 0.5, "eta": 0.8}])
def test_both_orders_restore_the_same_image(prior: Any, changes: dict[str, Any]) -> None:
    measurement, ours, theirs = posed(prior), Trace(keep=None), Trace(keep=None)
    x = ldsmc.sample(prior, measurement, Noise(0, ["a"], "test"), ours, **choices(**changes))
    thawed = public_order.thawed(prior)
    reference = public_order.sample(thawed, measurement, Noise(0, ["a"], "test"), theirs, **choices(**changes))
    assert deviation(x, reference) < 1e-5
    for k, z in theirs.values["z"].items():
        assert deviation(ours.values["z"][k], z) < 1e-5
    for k, log_weights in theirs.values["log_weights"].items():
        mine = ours.values["log_weights"][k]
        assert deviation(mine - mine.mean(), log_weights - log_weights.mean()) < 1e-3  # of size 1e4, differences of 10


def test_the_recorded_run_of_the_public_code_is_repeated() -> None:
    recording, facts = read(TRACE)
    prior = replace(compvis.load(CHECKPOINT, facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    steps = facts["schedule_steps"]
    chosen = released(f"steps={steps}", f"particles={facts['particles']}")
    chosen |= {key: facts[key] for key in ("eta", "kappa1", "kappa2", "rho")}
    chosen |= {"s": facts["switch_step"] / steps, "latent_fit_iterations": 0}
    measurement = Measurement(recording["y"], operator(recording), facts["measurement_noise_std"])
    noise = RecordedNoise({name: of(recording, kept) for name, kept in DRAWS.items()})
    x = public_order.sample(prior, measurement, noise, Trace(), **chosen)
    assert deviation(x, recording["x_rec"]) < 1e-4


def test_its_calls_are_those_of_the_public_code(prior: Any) -> None:
    """Of N particles and T steps with labels below the switch (specification of the public code, cost by method)."""
    n, steps, labelled = 3, 6, 3
    counted = Counted(public_order.thawed(prior))
    public_order.sample(counted, posed(prior), Noise(0, ["a"], "test"), Trace(), **choices())
    cost = counted.per_image(1)
    assert (cost["denoiser_forward"], cost["denoiser_backward"]) == ((steps + 1) * n, steps * n)
    first, weights = 1 + steps, 2 * n + (2 * steps - 1) * n
    assert cost["decoder_forward"] == first + weights + steps * n + labelled * n + 1
    assert cost["decoder_backward"] == steps * n + labelled * n
    assert cost["encoder_forward"] == 1


def test_parameters_ask_for_gradients_in_a_copy_alone(prior: Any) -> None:
    thawed: Any = public_order.thawed(prior)
    assert all(parameter.requires_grad for parameter in thawed.unet.parameters())
    assert not any(parameter.requires_grad for parameter in prior.unet.parameters())


def test_another_variant_and_several_images_are_refused(prior: Any) -> None:
    with pytest.raises(UserError, match="choose=draw: the public order is that of variant=released"):
        public_order.sample(prior, posed(prior), Noise(0, ["a"], "test"), Trace(), **choices(choose="draw"))
    two = posed(prior).select(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="one image"):
        public_order.sample(prior, two, Noise(0, ["a", "b"], "test"), Trace(), **choices())

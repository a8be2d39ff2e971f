"""The public code's order does the same work as the project's own sampler: the same draws give the same images."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.compiled import networks_of
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.replay.compare import deviation
from ldsmc_bench.replay.ldsmc import DRAWS
from ldsmc_bench.replay.recording import RecordedNoise, measurement_of, of, read, released
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.speed import public_order

FIXTURES = Path(__file__).parent.parent / "fixtures"
CHECKPOINT = FIXTURES / "compvis_ldm_vq4_unconditional"
TRACE = FIXTURES / "traces" / "ldsmc_box_seed0.safetensors"


def choices(**changes: Any) -> dict[str, Any]:
    """The released variant's; its fit of pixels is the quick one, which both sides have in common anyway."""
    return released("steps=6", "particles=3") | {"pixel_fit": "least_squares", "s": 0.4} | changes


def posed(prior: Any) -> Measurement:
    generator = torch.Generator().manual_seed(0)
    side = prior.image_size
    x = torch.rand((1, 3, side, side), generator=generator) * 2 - 1
    mask = (torch.rand((1, 1, side, side), generator=generator) < 0.5).float()
    return Measurement(mask * x, Mask(mask), 0.01)


@pytest.mark.parametrize("changes", [{}, {"particles": 1}, {"rho": 0.3, "kappa1": 0.5, "eta": 0.8}])
def test_both_orders_restore_the_same_image(tiny: Any, changes: dict[str, Any]) -> None:
    measurement, ours, theirs = posed(tiny), Trace(keep=None), Trace(keep=None)
    x = ldsmc.sample(tiny, measurement, Noise(0, ["a"], "test"), ours, **choices(**changes))
    thawed = public_order.thaw(tiny)
    reference = public_order.sample(thawed, measurement, Noise(0, ["a"], "test"), theirs, **choices(**changes))
    assert deviation("x", x, reference) < 1e-5
    for k, z in theirs.values["z"].items():
        assert deviation("z", ours.values["z"][k], z) < 1e-5
    for k, log_weights in theirs.values["log_weights"].items():
        mine = ours.values["log_weights"][k]
        assert (
            deviation("log_weights", mine - mine.mean(), log_weights - log_weights.mean()) < 1e-3
        )  # of size 1e4, differences of 10


@pytest.mark.slow  # the sampler repeats it in tests/replay, and this order the sampler above
def test_the_recorded_run_of_the_public_code_is_repeated() -> None:
    recording, facts = read(TRACE)
    prior = replace(compvis.load(CHECKPOINT, facts["ema"]), alpha_bar=recording["alphas_cumprod"].double())
    steps = facts["schedule_steps"]
    chosen = released(f"steps={steps}", f"particles={facts['particles']}")
    chosen |= {key: facts[key] for key in ("eta", "kappa1", "kappa2", "rho")}
    chosen |= {"s": facts["switch_step"] / steps, "latent_fit_iterations": 0}
    measurement = measurement_of(recording, facts, prior.image_size)
    noise = RecordedNoise({name: of(recording, kept) for name, kept in DRAWS.items()})
    x = public_order.sample(prior, measurement, noise, Trace(), **chosen)
    assert deviation("x_rec", x, recording["x_rec"]) < 1e-4


@dataclass(frozen=True)
class Listed(CallCounter):
    """Lists the rows of every call of the denoiser and the decoder."""

    denoised: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        self.denoised.append(len(z))
        return super().eps(z, t)

    def decode(self, z: Tensor) -> Tensor:
        self.decoded.append(len(z))
        return super().decode(z)


@pytest.mark.parametrize("n", [1, 3])
def test_its_calls_are_those_of_the_public_code(tiny: Any, n: int) -> None:
    """Of N particles and T steps with labels below the switch: all particles in one call (specification of the public
    code, algorithm and cost by method)."""
    steps, labelled = 6, 3
    listed = Listed(public_order.thaw(tiny))
    public_order.sample(listed, posed(tiny), Noise(0, ["a"], "test"), Trace(), **choices(particles=n))
    assert listed.denoised == (steps + 1) * [n]
    weights = 2 + (2 * steps - 1 if n > 1 else 0)
    assert Counter(listed.decoded) == Counter((1 + steps) * [1] + (weights + steps + labelled) * [n] + [1])
    cost = listed.per_image(1)
    assert cost["denoiser_backward"] == steps * n and cost["decoder_backward"] == (steps + labelled) * n
    assert cost["encoder_forward"] == 1


def test_networks_as_published_restore_the_same_image(tiny: Any) -> None:
    theirs = public_order.as_published(tiny)
    convolutions = [m for network in networks_of(theirs) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions and all(m.weight.is_contiguous() for m in convolutions)
    found, reference = (
        public_order.sample(either, posed(tiny), Noise(0, ["a"], "test"), Trace(), **choices())
        for either in (tiny, theirs)
    )
    assert deviation("x", found, reference) < 1e-4


def test_parameters_ask_for_gradients_in_a_copy_alone(tiny: Any) -> None:
    thawed: Any = public_order.thaw(tiny)
    assert all(parameter.requires_grad for parameter in thawed.unet.parameters())
    assert not any(parameter.requires_grad for parameter in tiny.unet.parameters())


def test_another_variant_and_several_images_are_refused(tiny: Any) -> None:
    with pytest.raises(UserError, match="choose=draw: the public order is that of variant=released"):
        public_order.sample(tiny, posed(tiny), Noise(0, ["a"], "test"), Trace(), **choices(choose="draw"))
    two = posed(tiny).select(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="one image"):
        public_order.sample(tiny, two, Noise(0, ["a", "b"], "test"), Trace(), **choices())

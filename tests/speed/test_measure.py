"""What is timed and counted of a pass, on networks small enough to count by hand."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.speed.setup import Setup, prepare
from ldsmc_bench.speed.timing import Stopwatch, Watched, count_operations, time_pass

CONV = 2 * 3 * 3 * 9 * 8 * 8  # a 3x3 convolution of 3 to 3 channels on 8x8 pixels
ATTENTION = 2 * 2 * 64 * 64 * 3  # two products over 64 places of 3 channels


@dataclass(frozen=True)
class Tiny:
    """A denoiser of one convolution and one attention; its decoder is a convolution, its encoder the identity."""

    shape: tuple[int, int, int] = (3, 8, 8)
    image_size: int = 8
    digest: str = "tiny"
    alpha_bar: Tensor = field(default_factory=scaled_linear)
    unet: nn.Module = field(default_factory=lambda: nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False))

    def conditioned(self, labels: object) -> "Tiny":
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        places = self.unet(z).flatten(2).mT[:, None].contiguous()  # or there would be no fused attention
        return F.scaled_dot_product_attention(places, places, places)[:, 0].mT.reshape(z.shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.unet(z)

    def encode(self, x: Tensor) -> Tensor:
        return x


def one_step(prior: Any, measurement: Any, noise: Any, trace: Any) -> Tensor:
    """One look ahead with its decode and its gradient; then the image."""
    z = noise.normal("z", prior.shape).requires_grad_(True)
    out = prior.decode(prior.eps(z, torch.zeros(len(z))))
    (gradient,) = torch.autograd.grad(out.square().sum(), z)
    trace(0)
    with torch.no_grad():
        return prior.decode(prior.encode(z - gradient))


@pytest.fixture
def ready(measured_on_tiny: None) -> Setup:
    """Two images for LD-SMC with one particle, six moves."""
    return prepare(["device=cpu", "steps=6", "particles=1", "method.sample.latent_fit_iterations=0"], 2)


def test_operations_are_those_counted_by_hand(ready: Setup) -> None:
    """Backward a convolution costs as much as forward, since its weights are frozen, and attention 5/2 as much."""
    step, end = count_operations(replace(ready, sample=one_step, prior=Tiny()))
    assert step == 2 * CONV + ATTENTION + 2 * CONV + 2.5 * ATTENTION
    assert end == CONV


def test_networks_are_timed_forward_and_backward_and_nothing_else() -> None:
    watch = Stopwatch(torch.device("cpu"))
    prior = Watched(Tiny(), listener=watch)
    noise = Noise(0, ["a", "b"], "test")
    watch.tick()
    one_step(prior, None, noise, Trace(tick=watch.tick))
    watch.tick()
    assert [number for number, *_ in watch.spans] == [0, 0, 0, 0, 1]  # two passes forward, two backward, a decode
    moments = [moment for _, *span in watch.spans for moment in span]
    assert moments == sorted(moments)  # apart from each other, in the order of the work
    assert prior.per_image(2)["denoiser_backward"] == prior.per_image(2)["decoder_backward"] == 1
    assert prior.per_image(2)["encoder_forward"] == 0


def test_watching_changes_no_result() -> None:
    tiny, noises = Tiny(), [Noise(0, ["a", "b"], "test") for _ in range(2)]
    plain = one_step(tiny, None, noises[0], lambda k: None)
    assert torch.equal(plain, one_step(Watched(tiny, listener=_started()), None, noises[1], lambda k: None))


def test_the_networks_share_is_at_most_the_whole_of_every_interval(ready: Setup) -> None:
    before = time.perf_counter()
    whole, inside, _ = time_pass(ready)
    assert sum(whole) <= time.perf_counter() - before
    assert len(whole) == ready.kinds.steps + 1
    assert all(0 < part <= interval for part, interval in zip(inside, whole, strict=True))


def test_a_chain_of_both_kinds_of_steps_decodes_twice_where_labels_guide(ready: Setup) -> None:
    operations = count_operations(ready)
    assert (ready.kinds.steps, ready.kinds.switch) == (6, 3)
    step, labelled = operations[1:3], operations[3:5]  # k = 4, 3 and k = 2, 1
    assert step[0] == step[1] and labelled[0] > labelled[1]  # where both labels are decoded
    with torch.no_grad():
        once = replace(ready, sample=lambda prior, *_: prior.decode(torch.zeros(1, *prior.shape)))
        decode = count_operations(once)[0]
    assert sum(labelled) - sum(step) == pytest.approx(2 * 3 * decode, rel=0.15)  # labels, and mu there and back


def _started() -> Stopwatch:
    watch = Stopwatch(torch.device("cpu"))
    watch.tick()
    return watch

"""What a meter hears of a sampler's call."""

import pytest
import torch
from torch import Tensor

from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.progress.work import Meter
from ldsmc_bench.running import progress


class Prior(LatentPrior):
    """Networks of one line."""

    shape, image_size = (3, 1, 1), 1

    def __init__(self) -> None:
        pass

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return 2 * z

    def decode(self, z: Tensor) -> Tensor:
        return z**2


def test_calls_are_heard_forward_and_backward_step_by_step() -> None:
    meter = Meter()
    prior = CallCounter(Prior(), listener=meter)
    leaf = torch.ones(2, 3, 1, 1, requires_grad=True)  # which a fit gives again and again
    for _ in range(4):
        (gradient,) = torch.autograd.grad(prior.decode(leaf).sum() + leaf.sum(), leaf)
        assert torch.equal(gradient, 3 * torch.ones(2, 3, 1, 1))
    assert not leaf._backward_hooks
    meter.tick()
    torch.autograd.grad(prior.decode(prior.eps(leaf, torch.zeros(2))).sum(), leaf)
    with torch.no_grad():
        prior.decode(leaf)
    meter.close()
    first, second = meter.parts
    assert dict(first.calls) == {("decoder_forward", 2): 4, ("decoder_backward", 2): 4}
    assert second.calls == {
        ("denoiser_forward", 2): 1,
        ("denoiser_backward", 2): 1,
        ("decoder_forward", 2): 2,
        ("decoder_backward", 2): 1,
    }
    assert {f"{kind}": n for kind, n in prior.calls.items()} == {
        "denoiser_forward": 2,
        "denoiser_backward": 2,
        "decoder_forward": 12,
        "decoder_backward": 10,
    }
    assert meter.cost(("decoder_backward", 2)) > 0 and first.measured is not None


def test_what_was_not_seen_is_guessed_by_what_is_most_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, now = Meter(), [0.0]
    monkeypatch.setattr(progress, "clock", lambda: now[0])
    assert meter.cost(("decoder_forward", 4)) == 0
    for seconds in (3.0, 2.0, 2.5, 1.0):  # the first also warms up, and from the fourth on none is timed
        meter.begin("denoiser_forward", 4)
        now[0] += seconds
        meter.end("denoiser_forward", 4)
    assert meter.cost(("denoiser_forward", 4)) == 2
    assert meter.cost(("denoiser_backward", 8)) == pytest.approx(4)  # the same network
    assert meter.cost(("decoder_forward", 2)) == pytest.approx(1)  # any
    meter.timings["decoder_backward", 20] = [40.0]
    assert meter.cost(("decoder_forward", 2)) == pytest.approx(4)

"""Images that labels of LD-SMC start from, and kappas in units of a latent's entries, each against its definition."""

from typing import Any

import pytest
import torch
from gaussian import GaussianPrior, masked

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Overexposed
from ldsmc_bench.problem.tasks import super_resolution
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments

PRIOR = GaussianPrior()  # D(z) = z / 2 and E(x) = 2 x, so that x_0 is read from z_0
IDS = ("a", "b", "c")


def restored(y: Measurement | None = None, prior: Any = PRIOR, **changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The restored images, and the image x_0 that labels are drawn from (empty without labels)."""
    trace = Trace(keep=("start",))
    chosen = arguments("variant=default", "particles=1", "steps=8") | {"s": 0.5} | changes
    x = ldsmc.sample(prior, y or masked(3), Noise(0, IDS, "test"), trace, **chosen)
    return x, trace.values["start"].get(0, torch.empty(0)) / 2


def in_the_hole(x: torch.Tensor) -> torch.Tensor:
    return x[(masked(3).operator.observed() == 0).expand_as(x)]


def test_by_default_the_hole_holds_the_decode_of_a_random_latent() -> None:
    chosen = arguments("variant=default")
    assert (chosen["pixel_fit"], chosen["gain"]) == ("least_squares", "paper")
    drawn = Noise(0, IDS, "test").normal("init", PRIOR.shape).double()
    assert torch.allclose(in_the_hole(restored()[1]), in_the_hole(0.5 * drawn))


@pytest.mark.parametrize("start", ["least_squares", "pinv", "first_pass"])
def test_every_start_fits_what_was_observed(start: str) -> None:
    x_0, y = restored(pixel_fit=start)[1], masked(3)
    assert torch.allclose(y.operator(x_0), y.y)


def test_the_pseudo_inverse_is_the_operators() -> None:
    assert torch.equal(in_the_hole(restored(pixel_fit="pinv")[1]), torch.zeros_like(in_the_hole(masked(3).y)))
    reduction = super_resolution(8, Noise(0, IDS, "test"), scale=4).to("cpu", torch.float64)
    y = Measurement(reduction(masked(3).y), reduction, 0.05)
    assert torch.allclose(restored(y, pixel_fit="pinv")[1], reduction.pinv(y.y), atol=1e-6)
    assert not torch.allclose(restored(y)[1], reduction.pinv(y.y), atol=0.1)


@pytest.mark.parametrize("particles", [1, 3])
def test_the_first_pass_is_the_run_without_labels(particles: int) -> None:
    alone, _ = restored(s=None, particles=particles)
    x, x_0 = restored(s=0.0, particles=particles, pixel_fit="first_pass")
    assert torch.allclose(in_the_hole(x_0), in_the_hole(alone))
    assert not torch.allclose(x, alone)  # its draws are others, even where labels do not guide


def test_a_first_pass_costs_one_pass_whatever_the_sweeps() -> None:
    for sweeps in (1, 2):
        counted = CallCounter(PRIOR)
        restored(prior=counted, pixel_fit="first_pass", gibbs_iterations=sweeps)
        assert counted.per_image(3)["denoiser_forward"] == 8 * (1 + sweeps)


class Mixing(GaussianPrior):
    """Each pixel is that of two neighbouring latents."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return 0.25 * (z + z.roll(1, dims=-1))


def test_what_the_hole_holds_reaches_labels_through_the_codec_alone() -> None:
    """Where a latent is a pixel, labels in the hole of a mask are hidden as y_0 is; else they tell the starts apart."""
    for prior, alike in ((PRIOR, True), (Mixing(), False)):
        random, zero = (restored(prior=prior, pixel_fit=start)[0] for start in ("least_squares", "pinv"))
        assert torch.allclose(random, zero, atol=1e-9) == alike


@pytest.mark.parametrize("start", ["pinv", "first_pass"])
def test_an_operator_need_not_be_linear(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW then fits from the same start: here it does not move at all."""
    monkeypatch.setitem(ldsmc.FITS, "adamw", lambda measurement, x: x)
    operator = Overexposed(2.0)
    y = Measurement(operator(masked(3).y), operator, 0.05)
    x_0 = restored(y, pixel_fit=start)[1]
    assert torch.allclose(x_0, restored(y, s=None)[0] if start == "first_pass" else torch.zeros_like(x_0))


@pytest.mark.parametrize("s", [None, 0.5])
def test_kappas_may_be_root_mean_squares_over_a_latents_entries(s: float | None) -> None:
    """The gradient has at most unit norm, so that a shift of rms 0.1 is one of norm 0.1 sqrt(3 x 8 x 8)."""
    norm = 0.1 * 192**0.5
    rms, _ = restored(s=s, gain="rms", kappa1=0.1, kappa2=0.1)
    assert torch.equal(rms, restored(s=s, kappa1=norm, kappa2=norm)[0])
    assert not torch.allclose(rms, restored(s=s, kappa1=0.1, kappa2=0.1)[0])

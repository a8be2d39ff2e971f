"""LTDS: LD-SMC without labels, and a particle filter whose weights are known where everything is Gaussian."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines import dps
from baselines.ltds import sample
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

NO_FIT = {"latent_fit_iterations": 0, "latent_fit_lr": 0.005}
IDS = ("a", "b", "c")
VARIANTS = ("default", "paper", "released")


@dataclass(frozen=True)
class Prior(GaussianPrior):
    bend: float = 0.2

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    return arguments("method=ltds", f"variant={variant}", "particles=3", "steps=8") | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, prior: Any = None, **changes: Any) -> Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    noise = Noise(0, ids, "test")
    return sample(prior or Prior(), masked(3).select(rows), noise, Trace(), **choices(variant, **changes))


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_does_not_depend_on_its_batch(variant: str) -> None:
    together = restored(variant)
    alone = torch.cat([restored(variant, (one,)) for one in IDS])
    assert together.shape == (3, 3, 8, 8) and torch.isfinite(together).all()
    assert torch.allclose(together, restored(variant, ("c", "a", "b"))[[1, 2, 0]], atol=1e-6)
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 2, 36])
def test_any_number_of_steps(variant: str, steps: int) -> None:
    assert torch.isfinite(restored(variant, steps=steps)).all()


def test_with_one_particle_it_is_ldps() -> None:
    prior, y = replace(Prior(), alpha_bar=scaled_linear(12)), masked(3)
    options = choices("default", particles=1, steps=12)
    ldps: dict[str, Any] = {
        "zeta": options["kappa1"],
        "scaling": "unit_clip",
        "transition": 1.0,
        "clip": False,
    } | NO_FIT
    x = dps.sample(prior, y, Noise(0, IDS, "test"), Trace(), steps=12, **ldps)
    assert torch.allclose(sample(prior, y, Noise(0, IDS, "test"), Trace(), **options), x, atol=1e-6)


def test_cost_is_that_of_one_look_ahead_a_particle_and_step() -> None:
    """A decode of z0_hat serves the weights and the guidance; nothing is encoded, no label decoded."""
    counted = CallCounter(Prior())
    restored("paper", prior=counted, particles=5, steps=10, temperature="mean")
    cost = counted.per_image(3)
    assert cost["denoiser_forward"] == cost["denoiser_backward"] + 5 == 50
    assert cost["decoder_forward"] == 50 + 5 + 1  # p(y|z_0) of every particle, and the result
    assert cost["decoder_backward"] == 45 and cost["encoder_forward"] == 0


def test_unguided_weights_are_those_of_the_bootstrap_filter() -> None:
    """With kappa1 = 0 proposal and prior cancel: log w = log p(y|z_0) - log pbar(y|z_1) for the last move, and
    log pbar(y|z_k) - log pbar(y|z_{k+1}) before, pbar being N(y; A D(sqrt(a_k) z_k), 1 - a_k)."""
    prior, y = GaussianPrior(), masked(1)
    options = choices("paper", kappa1=0.0, particles=4, steps=5, resample_below=0.0)
    trace = Trace(keep=None)
    sample(prior, y, Noise(0, IDS[:1], "test"), trace, **options)
    rows, z = paper_chain(prior.alpha_bar, 5, 1.0).rows, trace.values["z"]

    def log_normal(mean: Tensor, variance: float) -> Tensor:
        return -0.5 * (y.y - y.operator(mean)).square().sum(dim=(1, 2, 3)) / variance

    def twist(k: int) -> Tensor:
        return log_normal(prior.decode(rows[k].a ** 0.5 * z[k]), 1 - rows[k].a)

    exact = log_normal(prior.decode(z[0]), y.noise_std**2)
    for k, expected in ((3, twist(3)), (1, twist(1)), (0, exact)):  # never resampled, so that the product telescopes
        log_w = trace.values["log_weights"][k][0]
        assert torch.allclose(log_w - log_w.mean(), (expected - expected.mean()).double(), rtol=1e-8)


@pytest.mark.parametrize("kappa1", [0.0, 0.1])
def test_weights_bring_the_particles_to_the_posterior(kappa1: float) -> None:
    """z_0 ~ N(0, I), y = z_0 / 2 + noise: mean and variance of z_0 are known, whatever the guidance. Forty steps do
    not end in quite N(0, I), hence the margins; unweighted, unguided particles have mean 0 and variance 1."""
    prior = GaussianPrior(shape=(3, 1, 1), image_size=1)
    ones = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    options = choices("paper", kappa1=kappa1, particles=4000, steps=40, choose="argmax")
    trace = Trace(keep=None)
    sample(prior, Measurement(0.4 * ones, Mask(ones[:, :1]), 0.2), Noise(0, ("a",), "test"), trace, **options)
    weights = torch.softmax(trace.values["log_weights"][0][0], dim=0)
    z = trace.values["z"][0].flatten(1)
    mean = weights @ z
    variance = weights @ (z - mean).square()
    precision = 1 + 0.5**2 / 0.2**2
    assert (mean - 0.5 * 0.4 / 0.2**2 / precision).abs().max() < 0.04
    assert (variance - 1 / precision).abs().max() < 0.03

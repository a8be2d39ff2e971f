"""LatentDAPS against closed forms: its tables, and its MCMC where the posterior is Gaussian."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.latent_daps import linear_vp_steps, noise_grid, paper_levels, released_levels, sample, schedule_steps
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling.guidance import squared
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

PRIOR = GaussianPrior(bend=0.2)
VARIANTS = ("paper", "released")
IDS = ("a", "b", "c")


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    return arguments("method=latent_daps", f"variant={variant}", "steps=6") | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, prior: Any = PRIOR, **changes: Any) -> Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return sample(prior, masked(3).select(rows), Noise(0, ids, "test"), Trace(), **choices(variant, **changes))


def one_level(measurement: Measurement, ids: tuple[str, ...], **changes: Any) -> tuple[Tensor, Tensor]:
    """The prediction and the last state of MCMC, of a run at sigma = 1 alone."""
    trace = Trace(keep=None)
    options = choices("paper", steps=1, sigma_max=1.0, clip="none") | changes
    sample(GaussianPrior(), measurement, Noise(0, ids, "test"), trace, **options)
    return trace.values["z0_hat"][0], trace.values["z_0"][0]


def test_the_released_levels_are_those_of_the_public_code() -> None:
    levels = released_levels(50, 10.0, 0.1, 0.13)
    sigmas = [levels[k].sigma for k in (0, 1, 25, 48, 49)]
    assert sigmas == pytest.approx([10, 9.344, 1.4507, 0.12916, 0.11378], rel=1e-4)
    assert levels[49].after == 0
    assert levels[49].decay == pytest.approx(1 + 49 / 51 * (0.13 - 1))


def test_the_papers_levels_end_at_the_lowest() -> None:
    levels = paper_levels(50, 10.0, 0.1, 0.13)
    assert [levels[0].sigma, levels[49].sigma, levels[49].after] == pytest.approx([10, 0.1, 0])
    assert [levels[0].decay, levels[49].decay] == pytest.approx([1, 0.13])
    assert all(level.after == following.sigma for level, following in pairwise(levels))


def test_the_inner_grid() -> None:
    assert noise_grid(10.0, 1e-3, 2) == pytest.approx([10, 0.412, 1e-3], rel=2e-3)
    assert noise_grid(1.0, 1e-3, 2) == pytest.approx([1, 0.0718, 1e-3], rel=2e-3)


@pytest.mark.parametrize(
    ("sigma", "consistent", "released"),
    [(10, 736.8, 675.4), (5, 619.7, 566.7), (2, 424.5, 396.8), (1, 254.0, 258.7), (0.3, 49.6, 88.1), (0.1, 5.5, 27.0)],
)
def test_timesteps_of_noise_levels(sigma: float, consistent: float, released: float) -> None:
    """The schedule's own step, to the nearest, and the linear-VP one that the public code takes."""
    alpha_bar = scaled_linear()
    step = schedule_steps(alpha_bar)(sigma)
    assert isinstance(step.t, int)
    assert abs(step.t - consistent) <= 0.6
    assert step.sigma**2 == pytest.approx(float((1 - alpha_bar[step.t]) / alpha_bar[step.t]))
    assert linear_vp_steps(alpha_bar)(sigma).t == pytest.approx(released, abs=0.1)
    assert linear_vp_steps(alpha_bar)(sigma).sigma == sigma


def test_the_denoiser_sees_the_noise_that_there_is() -> None:
    """On the exact prior, predictions at sigma are z / (1 + sigma^2) where the map is the schedule's."""
    ids = ("a",)
    prediction, _ = one_level(masked(1), ids, mcmc_steps=0, ode_steps=1, ode_end=1e-12)
    sigma = schedule_steps(scaled_linear())(1.0).sigma
    z = sigma * Noise(0, ids, "test").normal("init", (3, 8, 8)).double()
    assert torch.allclose(prediction, z / (1 + sigma**2), atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_mcmc_reaches_the_gaussian_posterior(momentum: float) -> None:
    """p(z_0 | z, y) of a linear codec: precision 1/sigma^2 + (0.5 mask / tau)^2, mean by its weights."""
    ids = tuple(f"image{i}" for i in range(60))
    y, tau = masked(60), 0.5
    step_size = 0.03 * (1 - momentum) ** 2
    z0_hat, x = one_level(y, ids, mcmc_steps=300, step_size=step_size, momentum=momentum, data_std=tau)
    sigma = schedule_steps(scaled_linear())(1.0).sigma
    mask = y.operator.observed().expand_as(x)
    precision = 1 / sigma**2 + 0.25 * mask / tau**2
    mean = (z0_hat / sigma**2 + 0.5 * mask * y.y / tau**2) / precision
    scaled = (x - mean) * precision.sqrt()
    for seen in (0, 1):
        values = scaled[mask == seen]
        assert abs(values.mean()) < 5 / len(values) ** 0.5
        assert abs(values.var() - 1) < 5 * (2 / len(values)) ** 0.5 + 0.04  # and the bias of finite steps


def test_without_momentum_the_moves_are_langevins() -> None:
    y, h, tau = masked(2), 0.01, 0.3
    z0_hat, x = one_level(y, ("a", "b"), mcmc_steps=5, step_size=h, momentum=0.0, data_std=tau)
    sigma = schedule_steps(scaled_linear())(1.0).sigma
    mine = z0_hat
    for e in Noise(0, ("a", "b"), "test").normal("mcmc", (5, 3, 8, 8)).double().unbind(1):
        slope = (z0_hat - mine) / sigma**2 - 0.5 * y.operator.adjoint(y.operator(0.5 * mine) - y.y) / tau**2
        mine = mine + h * slope + (2 * h) ** 0.5 * e
    assert torch.allclose(x, mine, atol=1e-10)


def test_clips_bound_the_data_force() -> None:
    """Without noise (momentum 1) the first move is sqrt(h) v - h gradient / tau^2, v being drawn."""
    y, h, tau, ids = masked(2), 1e-4, 0.01, ("a", "b")
    kick = h**0.5 * Noise(0, ids, "test").normal("momentum", (3, 8, 8)).double()

    def gradient(**changes: Any) -> Tensor:
        z0_hat, x = one_level(y, ids, mcmc_steps=1, step_size=h, momentum=1.0, data_std=tau, **changes)
        return -(x - z0_hat - kick) * tau**2 / h

    free = gradient(clip="none", likelihood="whole")
    norm = free.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    assert free.abs().max() > 1
    assert torch.allclose(gradient(clip="none"), free / 2, atol=1e-9)
    assert torch.allclose(gradient(clip="value", likelihood="whole"), free.clamp(-1, 1), atol=1e-9)
    assert torch.allclose(gradient(clip="norm", likelihood="whole"), free / norm.clamp(min=1), atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_does_not_depend_on_its_batch(variant: str) -> None:
    together = restored(variant)
    reordered = restored(variant, ("c", "a", "b"))
    alone = torch.cat([restored(variant, (one,)) for one in IDS])
    assert together.shape == (3, 3, 8, 8)
    assert torch.isfinite(together).all()
    assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6)
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 7, 100, 333])
def test_any_number_of_steps(variant: str, steps: int) -> None:
    assert torch.isfinite(restored(variant, ("a",), steps=steps, mcmc_steps=2)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_seeds_differ_and_repeat(variant: str) -> None:
    def run(seed: int) -> Tensor:
        return sample(PRIOR, masked(3), Noise(seed, IDS, "test"), Trace(), **choices(variant))

    assert torch.equal(run(0), run(0))
    assert not torch.allclose(run(0), run(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_mcmc_brings_the_result_towards_the_measurement(variant: str) -> None:
    y = masked(3)
    guided, free = (restored(variant, mcmc_steps=n, steps=20) for n in (20, 0))
    assert squared(y.y - y.operator(guided)).mean() < 0.5 * squared(y.y - y.operator(free)).mean()


def test_cost() -> None:
    counted = CallCounter(PRIOR)
    restored("paper", prior=counted, steps=4, ode_steps=3, mcmc_steps=5)
    cost = counted.per_image(3)
    assert cost["denoiser_forward"] == 4 * 3
    assert cost["denoiser_backward"] == 0
    assert cost["decoder_forward"] == 4 * 5 + 1
    assert cost["decoder_backward"] == 4 * 5

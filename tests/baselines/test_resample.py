"""ReSample against closed forms: the product of two Gaussians, a linear codec, the table of its stages."""

from typing import Any

import pytest
import torch

from baselines.resample import plan, resampling_variance, sample, stochastic_resample
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.guidance import squared
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

PRIOR = GaussianPrior(bend=0.2)
VARIANTS = ("paper", "released")
IDS = ("a", "b", "c")


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    """The variant's choices with short fits."""
    short = {"pixel_iterations": 30, "latent_iterations": 20, "final_iterations": 5}
    return arguments("method=resample", f"variant={variant}", "steps=40") | short | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, prior: Any = PRIOR, **changes: Any) -> torch.Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return sample(prior, masked(3).select(rows), Noise(0, ids, "test"), Trace(), **choices(variant, **changes))


def test_resampling_draws_from_the_product_of_two_gaussians() -> None:
    a, variance, z_0, z = 0.3, 0.8, 1.7, -0.4
    draw = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = stochastic_resample(torch.tensor(z_0), torch.tensor(z), a, variance, draw)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)  # the product's moments by quadrature
    density = torch.exp(-0.5 * (grid - a**0.5 * z_0) ** 2 / (1 - a) - 0.5 * (grid - z) ** 2 / variance)
    density = density / density.sum()
    mean = (density * grid).sum()
    spread = (density * (grid - mean) ** 2).sum()
    assert abs(drawn.mean() - mean) < 5 * (spread / len(draw)) ** 0.5
    assert abs(drawn.var() / spread - 1) < 5 * (2 / len(draw)) ** 0.5


def test_the_variances_of_paper_and_public_code() -> None:
    row = Row(t=500, a=0.2, a_prev=0.25, sigma=0.0)
    assert resampling_variance(row, "paper") == pytest.approx(0.75 / 0.2 * (1 - 0.8))
    assert resampling_variance(row, "released") == pytest.approx(0.75 / 0.8 * (1 - 0.8))


def test_the_released_stages_are_those_of_the_public_code() -> None:
    """500 steps: fits after 330, 320, ..., 10, of pixels down to 170; a look ahead of five moves, a timestep early."""
    moves = plan("released", scaled_linear(), 500, 0.0, 10, 5)
    assert [k for k, move in enumerate(moves) if move.fit == "pixel"] == list(range(170, 331, 10))
    assert [k for k, move in enumerate(moves) if move.fit == "latent"] == list(range(10, 161, 10))
    assert [row.t for row in moves[10].ahead] == [moves[k].row.t for k in (9, 8, 7, 6, 5)]
    assert [row.a for row in moves[10].ahead] == [moves[k].row.a for k in (10, 9, 8, 7, 6)]
    assert len(moves) + sum(len(move.ahead) for move in moves) == 665


@pytest.mark.parametrize(("steps", "fits"), [(1, 0), (2, 1), (7, 5), (50, 34), (333, 31), (500, 33), (1000, 33)])
def test_the_papers_stages_are_shares_of_the_chain(steps: int, fits: int) -> None:
    moves = plan("paper", scaled_linear(), steps, 0.0, 10, 2)
    fitted = {k: move.fit for k, move in enumerate(moves) if move.fit}
    assert len(moves) == steps
    assert len(fitted) == fits
    assert all(0 < k <= steps - steps // 3 for k in fitted)
    assert all((kind == "pixel") == (k >= steps // 3) for k, kind in fitted.items())
    for k in fitted:
        assert moves[k].ahead == [moves[i].row for i in range(k - 1, max(-1, k - 3), -1)]
    assert moves[0].row.a_prev == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_does_not_depend_on_its_batch(variant: str) -> None:
    """Fits stop at different iterations for different images: at a misfit that some reach and others do not."""
    stops = {"fitted_at": 3e-3, "pixel_lr": 0.05, "latent_lr": 0.05, "latent_iterations": 60, "guidance": 0.5}
    together = restored(variant, **stops)
    reordered = restored(variant, ("c", "a", "b"), **stops)
    alone = torch.cat([restored(variant, (one,), **stops) for one in IDS])
    assert together.shape == (3, 3, 8, 8)
    assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6)
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together, restored(variant, **stops | {"fitted_at": 1e-9}), atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 7, 100, 333])
def test_any_number_of_steps(variant: str, steps: int) -> None:
    short = {"pixel_iterations": 2, "latent_iterations": 2}
    assert torch.isfinite(restored(variant, ("a",), steps=steps, **short)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_seeds_differ_and_repeat(variant: str) -> None:
    def run(seed: int) -> torch.Tensor:
        return sample(PRIOR, masked(3), Noise(seed, IDS, "test"), Trace(), **choices(variant))

    assert torch.equal(run(0), run(0))
    assert not torch.allclose(run(0), run(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_fits_bring_the_result_towards_the_measurement(variant: str) -> None:
    y = masked(3)
    longer = {"final_iterations": 0, "latent_lr": 0.05, "pixel_lr": 0.05, "guidance": 0.0}
    fitted = restored(variant, **longer)
    free = restored(variant, **longer | {"pixel_iterations": 0, "latent_iterations": 0})
    assert squared(y.y - y.operator(fitted)).mean() < 0.5 * squared(y.y - y.operator(free)).mean()


def test_without_fits_the_prior_is_sampled() -> None:
    """A deterministic chain of exact predictions multiplies N(0, I) by a gain a move."""
    ids = tuple(f"image{i}" for i in range(60))
    options = choices("paper", period=10_000, final_iterations=0, steps=20)
    x = sample(GaussianPrior(), masked(60), Noise(0, ids, "test"), Trace(), **options)
    gain = 1.0
    for move in plan("paper", scaled_linear(), 20, 0.0, 10_000, 0):
        row = move.row
        gain *= (row.a * row.a_prev) ** 0.5 + ((1 - row.a) * (1 - row.a_prev)) ** 0.5
    z = x / 0.5
    assert z.mean().abs() < 5 * gain / z.numel() ** 0.5
    assert (z.var() / gain**2 - 1).abs() < 5 * (2 / z.numel()) ** 0.5


def test_cost() -> None:
    counted = CallCounter(PRIOR)
    options = {"fitted_at": 1e-12, "period": 100, "guidance": 0.5, "ahead": 2, "pixel_iterations": 4}
    restored("paper", prior=counted, **options, latent_iterations=3, final_iterations=2)
    cost = counted.per_image(3)
    pixel, latent = 2, 1  # 40 steps, one fit every 8, from 8 to 27 (24, 16 and 8)
    assert cost["denoiser_forward"] == 40 + 2 * (pixel + latent)
    assert cost["denoiser_backward"] == 0
    assert cost["encoder_forward"] == pixel
    assert cost["decoder_forward"] == 40 + pixel + 3 * latent + 2 + 1
    assert cost["decoder_backward"] == 40 + 3 * latent + 2

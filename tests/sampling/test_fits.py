import pytest
import torch
from gaussian import GaussianPrior, masked

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.sampling.fits import latent_fit, least_squares, pixel_fit
from ldsmc_bench.sampling.guidance import residual, squared


def start(images: int, side: int = 8) -> torch.Tensor:
    return torch.rand((images, 3, side, side), generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 0.5


def test_the_nearest_fit_to_a_mask_fills_in_what_was_seen() -> None:
    y, x = masked(3), start(3)
    seen = y.operator.observed().expand_as(x) > 0
    assert torch.allclose(least_squares(y, x), torch.where(seen, y.y, x))


@pytest.mark.parametrize("scale", [4, 8])
def test_the_nearest_fit_to_a_reduction_is_the_pseudo_inverses(scale: int) -> None:
    x, noise = start(2, side=32), Noise(0, ["a", "b"], "test")
    y = measure(
        x.float(),
        lambda size, n: tasks.super_resolution(size, n, scale=scale),
        noise,
        noise_std=0.01,
        noise_in_hole=False,
    )
    y = y.to("cpu", torch.float64)
    expected = x + y.operator.pinv(y.y - y.operator(x))
    assert torch.allclose(least_squares(y, x), expected, atol=1e-6)


def test_the_fit_to_a_blur_leaves_little_of_the_misfit() -> None:
    x, noise = start(2, side=32), Noise(0, ["a", "b"], "test")
    y = measure(
        x.float(), lambda size, n: tasks.gaussian_deblur(size, n, sigma=3.0), noise, noise_std=0.01, noise_in_hole=False
    )
    y = y.to("cpu", torch.float64)
    fitted = least_squares(y, torch.zeros_like(x))
    assert torch.all(squared(y.y - y.operator(fitted)) < 0.05 * squared(y.y))


def test_rows_of_a_fit_do_not_influence_each_other() -> None:
    y, x = masked(3), start(3)
    one = torch.tensor([1])
    assert torch.allclose(least_squares(y, x)[one], least_squares(y.select(one), x[one]), atol=1e-12)


def test_the_released_fit_shrinks_what_it_does_not_see() -> None:
    """5000 steps of AdamW: seen pixels reach y, unseen ones are weight-decayed by (1 - 5e-5)^5000."""
    y, x = masked(2), start(2)
    seen = y.operator.observed().expand_as(x) > 0
    fitted = pixel_fit(y, x)
    assert torch.allclose(fitted[seen], y.y[seen], atol=1.5e-3)
    assert torch.allclose(fitted[~seen], (1 - 5e-5) ** 5000 * x[~seen], atol=1e-6)


def test_the_latent_fit_approaches_the_measurement_each_row_by_itself() -> None:
    prior, y = GaussianPrior(bend=0.2), masked(3)
    z = prior.encode(start(3))
    fitted = latent_fit(prior, y, z, iterations=200)
    assert torch.all(squared(residual(prior, y, fitted)) < 0.5 * squared(residual(prior, y, z)))
    one = torch.tensor([2])
    alone = latent_fit(prior, Measurement(y.y[one], y.operator.select(one), y.noise_std), z[one], iterations=200)
    assert torch.allclose(fitted[one], alone, atol=1e-9)


def test_the_latent_fit_stops_where_it_fits_exactly() -> None:
    prior = GaussianPrior()
    z = prior.encode(start(1))
    y = masked(1)
    exact = Measurement(y.operator(prior.decode(z)), y.operator, 0.0)
    once = latent_fit(prior, exact, z, iterations=1)
    assert torch.equal(latent_fit(prior, exact, z, iterations=60), once)

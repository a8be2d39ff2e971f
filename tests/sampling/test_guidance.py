import torch
from gaussian import GaussianPrior, masked

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.sampling.chain import Row, paper_chain
from ldsmc_bench.sampling.guidance import (
    data_gradient,
    guided_denoiser,
    guided_mean,
    log_normal,
    look_ahead,
    misfit_gradient,
    norm_gradient,
    residual,
    squared,
    unit_clipped,
)

PRIOR = GaussianPrior(bend=0.3)


def latents(rows: int) -> torch.Tensor:
    return torch.randn((rows, *PRIOR.shape), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_moments_are_the_exact_conditional_means_of_a_gaussian_chain() -> None:
    """For z_0 ~ N(0, I) and eta = 1 the mean of the move is E[z_prev | z] = sqrt(a / a_prev) z of the forward chain."""
    for row in paper_chain(PRIOR.alpha_bar, 10, 1.0).rows.values():
        z = latents(2)
        ahead = look_ahead(PRIOR, z, row)
        assert torch.allclose(ahead.z0_hat, row.a**0.5 * z)
        if row.a_prev < 1:
            assert torch.allclose(ahead.mean, (row.a / row.a_prev) ** 0.5 * z)


def test_data_gradient_against_finite_differences() -> None:
    measurement, row, z = masked(2), paper_chain(PRIOR.alpha_bar, 10, 1.0).rows[4], latents(2)

    def loss(z: torch.Tensor) -> torch.Tensor:
        return squared(residual(PRIOR, measurement, look_ahead(PRIOR, z, row, gradient=False).z0_hat))

    ahead = look_ahead(PRIOR, z, row)
    gradient = data_gradient(residual(PRIOR, measurement, ahead.z0_hat), ahead.z)
    direction, step = latents(4)[2:], 1e-5
    slope = (loss(z + step * direction) - loss(z - step * direction)) / (2 * step)
    assert torch.allclose((gradient * direction).flatten(1).sum(dim=1), slope, rtol=1e-6)


def test_gradients_of_misfits_and_norms_against_finite_differences() -> None:
    y, z = masked(2), latents(2)
    gradient, misfit = misfit_gradient(PRIOR, y, z)
    direction, step = latents(4)[2:], 1e-5
    ends = [squared(residual(PRIOR, y, z + sign * step * direction)) for sign in (1, -1)]
    slopes = (ends[0] - ends[1]) / (2 * step), (ends[0].sqrt() - ends[1].sqrt()) / (2 * step)
    for found, slope in zip((gradient, norm_gradient(gradient, misfit)), slopes, strict=True):
        assert torch.allclose((found * direction).flatten(1).sum(dim=1), slope, rtol=1e-6)
    assert torch.allclose(misfit, squared(residual(PRIOR, y, z)))
    exact = Measurement(y.operator(PRIOR.decode(z)), y.operator, 0.0)
    assert torch.equal(norm_gradient(*misfit_gradient(PRIOR, exact, z)), torch.zeros_like(z))


def test_long_gradients_become_unit_vectors_and_short_ones_stay() -> None:
    gradient = torch.stack([torch.full((3, 8, 8), 5.0), torch.full((3, 8, 8), 0.01)])
    clipped = unit_clipped(gradient)
    assert torch.allclose(clipped[0].norm(), torch.tensor(1.0))
    assert torch.equal(clipped[1], gradient[1])


def test_guidance_lowers_the_misfit_row_by_row() -> None:
    measurement, z = masked(3), latents(3)
    row = paper_chain(PRIOR.alpha_bar, 10, 1.0).rows[2]
    ahead = look_ahead(PRIOR, z, row)
    mean = guided_mean(PRIOR, ahead, residual(PRIOR, measurement, ahead.z0_hat), None, kappa=0.1, rho=0.5)
    assert torch.all(squared(residual(PRIOR, measurement, mean)) < squared(residual(PRIOR, measurement, ahead.mean)))


def test_rho_weighs_the_two_gradients() -> None:
    measurement, z = masked(2), latents(2)
    row = paper_chain(PRIOR.alpha_bar, 10, 1.0).rows[2]

    def mean(rho: float) -> torch.Tensor:
        ahead = look_ahead(PRIOR, z, row)
        return guided_mean(PRIOR, ahead, residual(PRIOR, measurement, ahead.z0_hat), measurement, kappa=1.0, rho=rho)

    assert torch.allclose(mean(0.25), 0.75 * mean(0) + 0.25 * mean(1))
    assert not torch.allclose(mean(0), mean(1))


def test_means_of_some_rows_are_those_of_all() -> None:
    measurement, z, rows = masked(3), latents(3), torch.tensor([2, 0])
    row = paper_chain(PRIOR.alpha_bar, 10, 1.0).rows[2]

    def mean(label: Measurement, *rows: torch.Tensor) -> torch.Tensor:
        ahead = look_ahead(PRIOR, z, row)
        return guided_mean(PRIOR, ahead, residual(PRIOR, measurement, ahead.z0_hat), label, 1.0, 0.5, *rows)

    assert torch.allclose(mean(measurement.select(rows), rows), mean(measurement)[rows])


def test_log_normal_differs_by_what_the_density_says() -> None:
    z = latents(2)
    normal = torch.distributions.Normal(torch.zeros_like(z), 0.7)
    exact = (normal.log_prob(z) - normal.log_prob(0.5 * z)).flatten(1).sum(dim=1)
    mine = log_normal(z, torch.zeros_like(z), 0.7) - log_normal(0.5 * z, torch.zeros_like(z), 0.7)
    assert torch.allclose(mine, exact)


def test_a_guided_denoiser_leads_to_the_posterior_mean_and_any_chain_samples_the_posterior_with_it() -> None:
    """z_0 ~ N(0, I), y = z_0 / 2 + noise: given z, y has variance (1 - a) / 4 + noise_std^2 around A(D(z0_hat))."""
    prior, rows = GaussianPrior(), 100
    ones = torch.ones(rows, 1, 8, 8, dtype=torch.float64)
    y = Measurement(0.4 * ones.expand(-1, 3, -1, -1), Mask(ones), 0.2)

    def denoise(z: torch.Tensor, row: Row) -> torch.Tensor:
        """By Tweedie's formula."""
        ahead, weight = look_ahead(prior, z, row), 1 / (2 * ((1 - row.a) / 4 + 0.2**2))
        guided = guided_denoiser(ahead.z, ahead.z0_hat, lambda z_0: [squared(residual(prior, y, z_0))], [weight])
        assert torch.allclose(guided.distances[0], squared(residual(prior, y, guided.z0_hat)))
        return guided.z0_hat - (1 - row.a) / row.a**0.5 * guided.gradient

    precision = 1 + 0.5**2 / 0.2**2
    mean = 0.5 * 0.4 / 0.2**2 / precision
    for eta in (0.0, 1.0):
        z = latents(rows)
        for row in reversed(paper_chain(prior.alpha_bar, 500, eta).rows.values()):
            z_0 = denoise(z, row)
            prior_precision = 1 / (1 - row.a)
            expected = (row.a**0.5 * z * prior_precision + 0.5 * y.y / 0.2**2) / (prior_precision + 0.5**2 / 0.2**2)
            assert torch.allclose(z_0, expected)
            z = row.mean(z, z_0) + row.sigma * torch.randn(z.shape, generator=torch.Generator().manual_seed(row.t))
        assert abs(float(z.mean()) - mean) < 0.01
        assert abs(float(z.var()) - 1 / precision) < 0.02, eta


def test_the_gradient_is_of_the_weighted_sum_of_distances() -> None:
    row, y = paper_chain(PRIOR.alpha_bar, 10, 1.0).rows[2], masked(2)

    def gradient(*weights: float) -> torch.Tensor:
        ahead = look_ahead(PRIOR, latents(2), row)
        pair = lambda z_0: [squared(residual(PRIOR, y, z_0)), z_0.flatten(1).norm(dim=1)]  # noqa: E731
        return guided_denoiser(ahead.z, ahead.z0_hat, pair, weights).gradient

    assert torch.allclose(gradient(0.3, 2.0), 0.3 * gradient(1, 0) + 2.0 * gradient(0, 1))

import torch
from gaussian import GaussianPrior, masked

from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.guidance import (
    data_gradient,
    guided_mean,
    label_gradient,
    log_normal,
    look_ahead,
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


def test_label_gradient_against_finite_differences() -> None:
    measurement, mean = masked(2), latents(2)
    gradient = label_gradient(PRIOR, measurement, mean)
    direction, step = latents(4)[2:], 1e-5
    loss = [squared(residual(PRIOR, measurement, mean + sign * step * direction)) for sign in (1, -1)]
    assert torch.allclose((gradient * direction).flatten(1).sum(dim=1), (loss[0] - loss[1]) / (2 * step), rtol=1e-6)


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


def test_log_normal_differs_by_what_the_density_says() -> None:
    z = latents(2)
    normal = torch.distributions.Normal(torch.zeros_like(z), 0.7)
    exact = (normal.log_prob(z) - normal.log_prob(0.5 * z)).flatten(1).sum(dim=1)
    mine = log_normal(z, torch.zeros_like(z), 0.7) - log_normal(0.5 * z, torch.zeros_like(z), 0.7)
    assert torch.allclose(mine, exact)

import math

import pytest
import torch
from torch import Tensor

from ldsmc_bench.sampling import resampling
from ldsmc_bench.sampling.resampling import flat_indices, unique_ancestors

W = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)


def offspring(scheme: resampling.Scheme, weights: Tensor, runs: int) -> Tensor:
    """Number of children of each particle in `runs` independent resamplings, (runs, B, N)."""
    generator = torch.Generator().manual_seed(1)
    images, particles = weights.shape
    u = torch.rand((runs * images, particles), generator=generator, dtype=torch.float64)
    ancestors = scheme(weights.repeat(runs, 1), u)
    return torch.nn.functional.one_hot(ancestors, particles).sum(dim=1).reshape(runs, images, particles).double()


@pytest.mark.parametrize("name", resampling.SCHEMES)
def test_every_scheme_is_unbiased(name: str) -> None:
    counts = offspring(resampling.SCHEMES[name], W, 20000)
    error = counts.std(dim=0) / 20000**0.5
    assert torch.all((counts.mean(dim=0) - 4 * W).abs() < 5 * error + 1e-12)


@pytest.mark.parametrize("name", resampling.SCHEMES)
def test_of_equal_weights_all_but_multinomial_keep_every_particle(name: str) -> None:
    weights = torch.full((3, 7), 1 / 7, dtype=torch.float64)
    always = (offspring(resampling.SCHEMES[name], weights, 200) == 1).all()
    assert always == (name != "multinomial")


def test_systematic_rounds_the_expected_offspring_and_residual_keeps_their_whole_part() -> None:
    counts = offspring(resampling.systematic, W, 500)
    assert torch.all((counts >= (4 * W).floor() - 1e-9) & (counts <= (4 * W).ceil() + 1e-9))
    assert torch.all(offspring(resampling.residual, W, 500) >= (4 * W).floor() - 1e-9)


def test_the_schemes_vary_in_their_known_order() -> None:
    """Of a sum over the offspring: residual and stratified never vary more than multinomial (Douc et al. 2005)."""
    value = torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.15, 0.1, 0.05]], dtype=torch.float64)
    variance = {
        name: (offspring(resampling.SCHEMES[name], weights, 5000) @ value).var(dim=0) for name in resampling.SCHEMES
    }
    for name in ("residual", "stratified", "systematic"):
        assert torch.all(variance[name] < 0.9 * variance["multinomial"]), name
    assert torch.all(variance["systematic"] < 1.1 * variance["stratified"])


@pytest.mark.parametrize("name", resampling.SCHEMES)
@pytest.mark.parametrize("wrong", [[0.5, torch.nan], [0.0, 0.0], [1.5, -0.5], [torch.inf, 1.0]])
def test_weights_that_are_none_are_refused(name: str, wrong: list[float]) -> None:
    weights = torch.tensor([[0.5, 0.5], wrong], dtype=torch.float64)
    with pytest.raises(ValueError, match="numbers of at least 0"):
        resampling.SCHEMES[name](weights, torch.full((2, 2), 0.5, dtype=torch.float64))


def test_an_image_that_blew_up_fails_alone() -> None:
    weights = resampling.normalize(torch.tensor([[0.0, -9.0], [torch.nan, 0.0], [-torch.inf, -torch.inf]]))
    ancestors, after, due = resampling.resample(
        weights, lambda w: resampling.multinomial(w, torch.full((3, 2), 0.3).double()), 1
    )
    assert ancestors.tolist() == [[0, 0], [0, 1], [0, 1]]
    assert due.tolist() == [True, False, False]
    assert torch.isfinite(after.log).all(dim=1).tolist() == [True, False, False]
    assert resampling.draw_one(weights, torch.full((3, 1), 0.9).double()).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("name", resampling.SCHEMES)
@pytest.mark.parametrize("log_weights", [[0.0], [0.0, -torch.inf, -torch.inf], [-torch.inf, -torch.inf, 3.0]])
def test_the_only_particle_with_weight_is_everybodys_ancestor(name: str, log_weights: list[float]) -> None:
    weights = resampling.normalize(torch.tensor([log_weights]))
    for u in (0.0, 0.5, 1 - 2**-53):
        ancestors = resampling.SCHEMES[name](
            weights.log.exp(), torch.full((1, len(log_weights)), u, dtype=torch.float64)
        )
        assert torch.all(ancestors == int(torch.tensor(log_weights).argmax()))


def test_ess_between_one_and_all() -> None:
    assert resampling.uniform(2, 5).ess == pytest.approx(torch.tensor([5.0, 5.0]))
    assert resampling.normalize(torch.tensor([[0.0, -1e9, -1e9]])).ess.item() == pytest.approx(1)
    assert resampling.normalize(W.log()).ess == pytest.approx(1 / W.square().sum(dim=1))


def test_the_log_mean_is_that_of_all_factors_so_far() -> None:
    """Over two rounds without resampling: of the products; a resampling in between leaves it as it is."""
    first, second = torch.log(torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    weights = resampling.uniform(3, 5).times(first)
    assert torch.allclose(weights.log_mean, first.exp().mean(dim=1).log())
    assert torch.allclose(weights.times(second).log_mean, (first + second).exp().mean(dim=1).log())
    assert torch.allclose(weights.log.exp().sum(dim=1), torch.ones(3).double())
    ancestors, after, _ = resampling.resample(
        weights, lambda w: resampling.multinomial(w, torch.full((3, 5), 0.4).double()), 1
    )
    expected = weights.log_mean + second.gather(1, ancestors).exp().mean(dim=1).log()
    assert torch.allclose(after.times(second.gather(1, ancestors)).log_mean, expected)


def test_a_log_mean_of_numbers_that_no_float_holds() -> None:
    weights = resampling.normalize(torch.tensor([[-1e5, -1e5 - 1], [1e5, -torch.inf]], dtype=torch.float64))
    assert weights.log_mean.tolist() == pytest.approx([-1e5 + math.log((1 + math.exp(-1)) / 2), 1e5 - math.log(2)])


def test_weights_are_invariant_to_a_constant() -> None:
    assert torch.allclose(resampling.normalize(W.log() - 1e5).log, W.log(), atol=1e-9)


def test_only_images_below_the_threshold_resample() -> None:
    weights = resampling.normalize(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]]).log())
    ancestors, after, due = resampling.resample(
        weights, lambda w: resampling.systematic(w, torch.full((2, 4), 0.5).double()), 0.5
    )
    assert due.tolist() == [False, True]
    assert ancestors.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert torch.allclose(after.log.exp(), torch.full((2, 4), 0.25).double())
    assert torch.equal(after.log_mean, weights.log_mean)


def test_a_threshold_of_one_always_resamples() -> None:
    _, _, due = resampling.resample(
        resampling.uniform(3, 7), lambda w: resampling.multinomial(w, torch.zeros(3, 7).double()), 1
    )
    assert due.all()


def test_rows_of_ancestors_stay_within_their_image() -> None:
    assert flat_indices(torch.tensor([[1, 1, 0], [2, 0, 0]])).tolist() == [1, 1, 0, 5, 3, 3]


def test_distinct_ancestors_and_where_each_is_among_them() -> None:
    ancestors = torch.tensor([[3, 1, 3, 3], [0, 0, 0, 0], [2, 3, 0, 2]])
    alive, places = unique_ancestors(ancestors)
    assert torch.equal(alive.gather(1, places), ancestors)
    assert alive.shape == (3, 3)  # as many as the third image has
    assert [sorted(set(row)) for row in alive.tolist()] == [[1, 3], [0], [0, 2, 3]]

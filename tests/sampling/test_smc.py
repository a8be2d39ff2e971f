import pytest
import torch
from torch import Tensor

from ldsmc_bench.sampling import smc

W = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]], dtype=torch.float64)


def offspring(scheme: smc.Scheme, weights: Tensor, runs: int) -> Tensor:
    """Number of children of each particle in `runs` independent resamplings, (runs, B, N)."""
    generator = torch.Generator().manual_seed(1)
    images, particles = weights.shape
    u = torch.rand((runs * images, particles), generator=generator, dtype=torch.float64)
    ancestors = scheme(weights.repeat(runs, 1), u)
    return torch.nn.functional.one_hot(ancestors, particles).sum(dim=1).reshape(runs, images, particles).double()


@pytest.mark.parametrize("name", smc.SCHEMES)
def test_every_scheme_is_unbiased(name: str) -> None:
    counts = offspring(smc.SCHEMES[name], W, 20000)
    error = counts.std(dim=0) / 20000**0.5
    assert torch.all((counts.mean(dim=0) - 4 * W).abs() < 5 * error + 1e-12)


def test_systematic_rounds_the_expected_offspring() -> None:
    counts = offspring(smc.systematic, W, 500)
    assert torch.all((counts >= (4 * W).floor() - 1e-9) & (counts <= (4 * W).ceil() + 1e-9))


def test_systematic_varies_less_than_multinomial() -> None:
    assert torch.all(offspring(smc.systematic, W, 2000).var(dim=0) < offspring(smc.multinomial, W, 2000).var(dim=0))


@pytest.mark.parametrize("name", smc.SCHEMES)
@pytest.mark.parametrize("log_weights", [[0.0], [0.0, -torch.inf, -torch.inf], [-torch.inf, -torch.inf, 3.0]])
def test_the_only_particle_with_weight_is_everybodys_ancestor(name: str, log_weights: list[float]) -> None:
    weights = smc.normalised(torch.tensor([log_weights]))
    for u in (0.0, 0.5, 1 - 2**-53):
        ancestors = smc.SCHEMES[name](weights.log.exp(), torch.full((1, len(log_weights)), u, dtype=torch.float64))
        assert torch.all(ancestors == int(torch.tensor(log_weights).argmax()))


def test_ess_between_one_and_all() -> None:
    assert smc.uniform(2, 5).ess == pytest.approx(torch.tensor([5.0, 5.0]))
    assert smc.normalised(torch.tensor([[0.0, -1e9, -1e9]])).ess.item() == pytest.approx(1)
    assert smc.normalised(W.log()).ess == pytest.approx(1 / W.square().sum(dim=1))


def test_weights_are_invariant_to_a_constant() -> None:
    assert torch.allclose(smc.normalised(W.log() - 1e5).log, W.log(), atol=1e-9)


def test_only_images_below_the_threshold_resample() -> None:
    weights = smc.Weights(
        torch.stack([torch.full((4,), 0.25).double().log(), torch.tensor([0.97, 0.01, 0.01, 0.01]).double().log()])
    )
    ancestors, after, due = smc.resampled(weights, lambda w: smc.systematic(w, torch.full((2, 4), 0.5).double()), 0.5)
    assert due.tolist() == [False, True]
    assert ancestors.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert torch.allclose(after.log.exp(), torch.full((2, 4), 0.25).double())


def test_a_threshold_of_one_always_resamples() -> None:
    _, _, due = smc.resampled(smc.uniform(3, 7), lambda w: smc.multinomial(w, torch.zeros(3, 7).double()), 1)
    assert due.all()


def test_rows_of_ancestors_stay_within_their_image() -> None:
    assert smc.rows_of(torch.tensor([[1, 1, 0], [2, 0, 0]])).tolist() == [1, 1, 0, 5, 3, 3]

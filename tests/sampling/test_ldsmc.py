from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gaussian import GaussianPrior, masked

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Operator, Overexposed, PhaseRetrieval
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.fits import pixel_fit
from ldsmc_bench.sampling.guidance import residual, squared
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments

PRIOR = GaussianPrior(bend=0.2)
VARIANTS = ("default", "paper", "released")
IDS = ("a", "b", "c")


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    """The variant's choices; its fit of pixels is the quick one, since 5000 steps of AdamW have tests of their own."""
    chosen = arguments(f"variant={variant}", "particles=3", "steps=8")
    return chosen | {"pixel_fit": "least_squares"} | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, prior: Any = PRIOR, **changes: Any) -> torch.Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return ldsmc.sample(prior, masked(3).select(rows), Noise(0, ids, "test"), Trace(), **choices(variant, **changes))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("changes", [{"particles": 1}, {"gibbs_iterations": 2, "latent_fit_iterations": 3}])
def test_an_image_does_not_depend_on_its_batch(variant: str, changes: dict[str, Any]) -> None:
    together = restored(variant, **changes)
    reordered = restored(variant, ("c", "a", "b"), **changes)
    alone = torch.cat([restored(variant, (one,), **changes) for one in IDS])
    assert together.shape == (3, 3, 8, 8)
    assert torch.isfinite(together).all()
    assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6)
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("operator", [Overexposed(2.0), PhaseRetrieval(2)])
def test_an_operator_need_not_be_linear(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels start from a fit by AdamW, here a short one; conjugate gradients would ask for the adjoint."""
    monkeypatch.setitem(ldsmc.FITS, "adamw", partial(pixel_fit, iterations=20))
    truth = masked(3).y
    taken = Measurement(operator(truth), operator, 0.05)
    misfit = []
    for kappa in (0.0, 1.0):  # unguided and guided, with the same noise
        chosen = choices("default", particles=1, steps=30, s=0.3, kappa1=kappa, kappa2=kappa)
        x = ldsmc.sample(PRIOR, taken, Noise(0, IDS, "test"), Trace(), **chosen)
        misfit.append(squared(taken.y - operator(x)))
    assert (misfit[1] < 0.7 * misfit[0]).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 2, 3, 36])
def test_any_number_of_steps(variant: str, steps: int) -> None:
    assert torch.isfinite(restored(variant, steps=steps)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_seeds_differ_and_repeat(variant: str) -> None:
    def run(seed: int) -> torch.Tensor:
        return ldsmc.sample(PRIOR, masked(3), Noise(seed, IDS, "test"), Trace(), **choices(variant))

    assert torch.equal(run(0), run(0))
    assert not torch.allclose(run(0), run(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_guidance_brings_the_result_towards_the_measurement(variant: str) -> None:
    kappas = {"kappa1": 1.0, "kappa2": 1.0, "steps": 40, "particles": 1, "s": 0.2}
    guided = restored(variant, **kappas)
    free = restored(variant, **kappas | {"kappa1": 0.0, "kappa2": 0.0})
    y = masked(3)
    misfits = [squared(y.y - y.operator(x)).mean() for x in (guided, free)]
    assert misfits[0] < 0.5 * misfits[1]


def test_without_guidance_and_weights_the_prior_is_sampled() -> None:
    """The chain of a Gaussian prior is Gaussian: latents of the result are N(0, v I) with v in closed form."""
    ids = tuple(f"image{i}" for i in range(60))
    options = choices("paper", particles=1, kappa1=0.0, kappa2=0.0, steps=20)
    x = ldsmc.sample(GaussianPrior(), masked(60), Noise(0, ids, "test"), Trace(), **options)
    variance = 1.0
    for row in reversed(paper_chain(PRIOR.alpha_bar, 20, 1.0).rows.values()):
        gain = (row.a_prev * row.a) ** 0.5 + (max(0.0, 1 - row.a_prev - row.sigma**2) * (1 - row.a)) ** 0.5
        variance = gain**2 * variance + row.sigma**2
    z = x / 0.5
    assert z.mean().abs() < 5 * (variance / z.numel()) ** 0.5
    assert (z.var() / variance - 1).abs() < 5 * (2 / z.numel()) ** 0.5


def test_with_s_zero_labels_do_not_guide_the_papers_chain() -> None:
    assert torch.equal(
        restored("paper", particles=1, s=0.0, kappa2=2.5, rho=0.7),
        restored("paper", particles=1, s=0.0, kappa2=0.1, rho=0.1),
    )
    assert not torch.equal(
        restored("paper", particles=1, s=0.5, kappa2=2.5, rho=0.7),
        restored("paper", particles=1, s=0.5, kappa2=0.1, rho=0.1),
    )


def test_weights_prefer_particles_that_fit() -> None:
    """With sums over dimensions the chosen particle fits better than the same chain's without weights."""
    y = masked(3)
    options = {"steps": 20, "kappa1": 0.05, "kappa2": 0.05}
    weighted = restored("paper", particles=30, **options)
    single = restored("paper", particles=1, **options)
    assert squared(y.y - y.operator(weighted)).mean() < 0.9 * squared(y.y - y.operator(single)).mean()


def test_diagnostics_hold_the_ess_of_every_step() -> None:
    trace = Trace()
    ldsmc.sample(PRIOR, masked(3), Noise(0, IDS, "test"), trace, **choices("default"))
    tables = trace.per_image()
    assert len(tables) == 3
    assert all(len(table["ess"]) == len(table["resampled"]) == 8 for table in tables)
    assert all(1 - 1e-9 <= value <= 3 + 1e-9 for table in tables for value in table["ess"])


def test_spread_is_that_of_the_particles_images() -> None:
    trace = Trace(keep=("spread", "z"))
    ldsmc.sample(PRIOR, masked(3), Noise(0, IDS, "test"), trace, **choices("default"))
    particles = PRIOR.decode(trace.values["z"][0]).numpy().reshape(3, 3, 3, 8, 8)
    assert np.allclose(trace.values["spread"][0].numpy(), particles.std(axis=1)) and particles.std() > 0
    alone = Trace(keep=("spread",))
    ldsmc.sample(PRIOR, masked(3), Noise(0, IDS, "test"), alone, **choices("default", particles=1))
    assert not alone.values


def calls(variant: str, **changes: Any) -> dict[str, float]:
    counted = CallCounter(PRIOR)
    restored(variant, prior=counted, **changes)
    return counted.per_image(3)


def test_cost_of_a_single_particle() -> None:
    cost = calls("paper", particles=1, steps=10, s=0.3)
    assert cost["denoiser_forward"] == 10
    assert cost["denoiser_backward"] == 9  # the last move is not guided
    # one decode to start, one for each guided look-ahead, and for labels at k = 1, 2 its own and one of mu; the output
    assert cost["decoder_forward"] == 1 + 10 + 2 * 2 + 1
    assert cost["decoder_backward"] == 9 + 2
    assert cost["encoder_forward"] == 1


def test_cost_of_weights() -> None:
    """Each weight adds D(z_k) for every particle and one label an image; the decode of z0_hat is shared."""
    n = 5
    cost = calls("paper", particles=n, steps=10, s=0.3, temperature="mean")  # weights nearly alike: most live on
    assert cost["denoiser_forward"] == 10 * n
    guided_by_labels = cost["decoder_backward"] - 9 * n  # at k = 1, 2: of mu, where a particle has offspring
    assert 2 <= guided_by_labels < 2 * n
    assert cost["decoder_forward"] == 1 + 10 * n + (10 - 1 + 1) + 11 * n + guided_by_labels + 1


def test_no_gradient_is_taken_of_what_has_no_offspring() -> None:
    """Where at most half of an image's particles live on, they alone look ahead again, with a gradient."""
    n = 8
    cost, plain = (calls("paper", particles=n, steps=10, s=None, temperature=t) for t in ("sum", 1e9))
    assert plain["denoiser_backward"] == 9 * n == plain["denoiser_forward"] - n
    again = cost["denoiser_forward"] - plain["denoiser_forward"]
    assert 0 < again == cost["decoder_forward"] - plain["decoder_forward"]
    whole = (cost["denoiser_backward"] - again) / n  # moves that so many live on for that all guide as before
    assert whole in range(9) and again <= (9 - whole) * n / 2
    assert cost["decoder_backward"] == cost["denoiser_backward"]


def test_the_second_look_ahead_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for variant in ("paper", "exact"):
        options = {"particles": 8, "steps": 12, "twist": "paper", "temperature": 0.001}
        with_it, costs = restored(variant, **options), calls(variant, **options)
        with monkeypatch.context() as patched:
            every = lambda ancestors: (torch.arange(8).expand_as(ancestors), ancestors)  # noqa: E731
            patched.setattr("ldsmc_bench.sampling.particles.unique_ancestors", every)
            without, plain = restored(variant, **options), calls(variant, **options)
        assert costs["denoiser_backward"] < plain["denoiser_backward"]
        assert torch.allclose(with_it, without, atol=1e-9)


def test_labels_come_from_the_papers_forward_chain() -> None:
    """z_k given z_0 has mean sqrt(a_k) z_0 and variance 1 - a_k (Eq. 2), whatever eta."""
    generator = torch.Generator().manual_seed(0)
    z_0 = torch.full((20000,), 1.5, dtype=torch.float64)
    for eta in (1.0, 0.5):
        chain = paper_chain(PRIOR.alpha_bar, 10, eta)
        path = ldsmc.label_latents(chain, z_0, lambda: torch.randn(20000, generator=generator, dtype=torch.float64))
        latents = dict(zip(range(10, 0, -1), path, strict=True))
        for k in (1, 5, 9):
            a = chain.rows[k].a
            assert abs(latents[k].mean() - a**0.5 * 1.5) < 5 * ((1 - a) / 20000) ** 0.5 + 0.02
            assert abs(latents[k].var() / (1 - a) - 1) < 0.06


def test_residual_rows_belong_to_their_measurement() -> None:
    y = masked(3)
    z = PRIOR.encode(torch.zeros(3, 3, 8, 8, dtype=torch.float64))
    assert torch.allclose(residual(PRIOR, y, z), y.y)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("particles", [1, 3])
def test_labels_of_few_images_are_decoded_several_at_once(
    variant: str, particles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one by one, and nothing else comes of it; those that nothing reads are not decoded."""
    options = {"particles": particles, "steps": 10, "s": 0.6, "label_noise": True, "pixel_fit": "least_squares"}
    found = {}
    for together in (1, 7):  # one label of three images, or two
        monkeypatch.setattr(ldsmc, "TOGETHER", together)
        found[together] = restored(variant, **options), calls(variant, **options)
    assert torch.allclose(found[1][0], found[7][0], atol=1e-12)
    assert found[1][1] == found[7][1]
    weightless = calls(variant, **options, labels_in_target=False)
    assert found[1][1]["decoder_forward"] - weightless["decoder_forward"] >= (particles > 1) * (10 - 6)


def test_a_label_keeps_no_other_alive() -> None:
    """Memory does not grow with steps: the path of the labels is made as they are read, in the order of its draws."""
    drawn: list[torch.Tensor] = []

    def draw() -> torch.Tensor:
        drawn.append(torch.full((1,), 1.0 + len(drawn)))
        return drawn[-1]

    moves = paper_chain(PRIOR.alpha_bar, 10, 1.0)
    path = ldsmc.label_latents(moves, torch.zeros(1), draw)
    for number, z in enumerate(path, start=1):
        assert len(drawn) == number and torch.isfinite(z).all()
    assert number == 10

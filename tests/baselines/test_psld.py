"""PSLD against closed forms: on a Gaussian prior with a linear codec every step is a formula."""

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.psld import lift, sample
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.problem.separable import SuperResolution, bicubic_taps
from ldsmc_bench.sampling.chain import Row
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

PRIOR = GaussianPrior(bend=0.2)
VARIANTS = ("paper", "released")
IDS = ("a", "b", "c")


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    return arguments("method=psld", f"variant={variant}", "steps=8") | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, prior: Any = PRIOR, seed: int = 0, **changes: Any) -> Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return sample(prior, masked(3).select(rows), Noise(seed, ids, "test"), Trace(), **choices(variant, **changes))


def unit(error: Tensor) -> Tensor:
    return error / error.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def papers_rows(steps: int, eta: float) -> list[Row]:
    """Evenly spaced levels from the last training step down, then a clean latent, written out anew."""
    alpha_bar = PRIOR.alpha_bar.tolist()
    at = [alpha_bar[round(1000 * (i + 1) / steps) - 1] for i in range(steps)]
    below = [1.0, *at[:-1]]
    sigmas = [eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5 for a, b in zip(at, below, strict=True)]
    return [Row(0, *row) for row in zip(at, below, sigmas, strict=True)]


@pytest.mark.parametrize(("steps", "eta"), [(1, 0.0), (2, 1.0), (7, 0.0), (20, 0.6)])
def test_a_whole_run_is_the_recursion_that_the_gaussian_prior_makes_of_it(steps: int, eta: float) -> None:
    """With z0_hat = sqrt(a) z and x = z0_hat / 2, both gradients lie along the masked residual m (y - x)."""
    omega, gamma = 0.3, 0.2
    y, noise = masked(3), Noise(0, IDS, "test")
    z = noise.normal("init", PRIOR.shape).double()
    m, delta = y.operator.mask, y.noise_std**2  # type: ignore[attr-defined]
    for row in reversed(papers_rows(steps, eta)):
        z0_hat = row.a**0.5 * z
        mean = row.a_prev**0.5 * z0_hat + (1 - row.a_prev - row.sigma**2) ** 0.5 * (1 - row.a) ** 0.5 * z
        residual = y.y - m * z0_hat / 2
        glue = 2 * (m * y.y - m * z0_hat / 2) / (1 + delta)  # E(x_glue) - z0_hat
        shift = omega * unit(residual) / 2 + gamma * unit(glue) / (1 + delta)
        z = mean + row.a**0.5 * m * shift + row.sigma * noise.normal("proposal", PRIOR.shape).double()
    mine = restored("paper", prior=GaussianPrior(), steps=steps, eta=eta, omega=omega, gamma=gamma)
    assert torch.allclose(mine, z / 2, atol=1e-10)


def test_the_released_variant_is_the_public_codes_step_on_its_tables() -> None:
    """125 training steps apart, moved up by one, ending at the first level; fresh noise on the prediction."""
    omega, gamma, y, noise = 0.3, 0.2, masked(3), Noise(0, IDS, "test")
    alpha_bar = PRIOR.alpha_bar.float().double()
    z = noise.normal("init", PRIOR.shape).double()
    m = y.operator.mask  # type: ignore[attr-defined]
    for j in reversed(range(8)):
        level, a = 1 + 125 * j, alpha_bar[1 + 125 * j]
        a_prev = alpha_bar[level - 125] if j > 0 else alpha_bar[0]
        eps = (1 - PRIOR.alpha_bar[level]) ** 0.5 * z
        slope = (1 - ((1 - a) * (1 - PRIOR.alpha_bar[level])) ** 0.5) / a**0.5  # of z0_hat in z
        z0_hat = slope * z
        residual = y.y - m * z0_hat / 2 - y.noise_std * noise.normal("prediction", (3, 8, 8))
        shift = m * (omega * unit(residual) / 2 + gamma * unit(y.y - m * z0_hat / 2))
        noise.normal("proposal", PRIOR.shape)
        z = a_prev**0.5 * z0_hat + (1 - a_prev) ** 0.5 * eps + slope * shift
    assert torch.allclose(restored("released", prior=GaussianPrior(), omega=omega, gamma=gamma), z / 2, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_image_does_not_depend_on_its_batch(variant: str, eta: float) -> None:
    together = restored(variant, eta=eta)
    reordered = restored(variant, ("c", "a", "b"), eta=eta)
    alone = torch.cat([restored(variant, (one,), eta=eta) for one in IDS])
    assert together.shape == (3, 3, 8, 8)
    assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6, rtol=0)
    assert torch.allclose(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_seeds_differ_and_repeat(variant: str) -> None:
    assert torch.equal(restored(variant), restored(variant))
    assert not torch.allclose(restored(variant), restored(variant, seed=1))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 2, 3, 36, 101])
def test_any_number_of_steps(variant: str, steps: int) -> None:
    assert torch.isfinite(restored(variant, steps=steps)).all()


@pytest.mark.parametrize("weights", [{"omega": 1.0, "gamma": 0.0}, {"omega": 0.0, "gamma": 0.5}])
def test_each_gradient_by_itself_brings_the_result_towards_the_measurement(weights: dict[str, float]) -> None:
    y = masked(3)
    guided, free = (restored("paper", steps=100, **w) for w in (weights, {"omega": 0.0, "gamma": 0.0}))
    misfit, before = ((y.y - y.operator(x)).flatten(1).norm(dim=1) for x in (guided, free))
    assert (misfit < 0.5 * before).all()


def test_gluing_by_the_pseudo_inverse_does_not_see_noise_in_the_hole_and_the_references_does() -> None:
    y = masked(3)
    hole = 1 - y.operator.mask  # type: ignore[attr-defined]
    noisy = Measurement(y.y + 0.3 * hole, y.operator, y.noise_std)

    def result(given: Measurement, glue: str) -> Tensor:
        options = choices("paper", omega=0.0, gamma=0.5, glue=glue)
        return sample(PRIOR, given, Noise(0, IDS, "test"), Trace(), **options)

    for glue in ("pinv", "adjoint"):
        assert torch.equal(result(y, glue), result(noisy, glue))
    assert not torch.allclose(result(y, "reference"), result(noisy, "reference"))


def reduced(images: int = 2, side: int = 16, scale: int = 4) -> Measurement:
    operator = SuperResolution(bicubic_taps(scale), scale)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((images, 3, side, side), generator=generator, dtype=torch.float64)
    return Measurement(operator(x), operator, 0.0)


def test_gluing_by_the_pseudo_inverse_makes_an_image_agree_with_the_measurement() -> None:
    """A(A+ y + x - A+ A x) = y for any x; not so with nearest neighbours or the adjoint."""
    y = reduced()
    x = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def disagreement(glue: Any) -> float:
        up = lift(y, (3, 16, 16), glue, method="psld")
        glued = up(y, y.y) + x - up(y, y.operator(x))
        return float((y.operator(glued) - y.y).norm() / (y.operator(x) - y.y).norm())

    assert disagreement("pinv") < 1e-6
    assert 0.1 < disagreement("reference") < 0.5
    assert 0.9 < disagreement("adjoint") < 1


def test_the_references_lift_is_nearest_neighbours() -> None:
    y = reduced()
    up = lift(y, (3, 16, 16), "reference", method="psld")(y, y.y)
    assert torch.equal(up, y.y.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3))


class Bare:
    """A non-linear operator without a pseudo-inverse."""

    linear = False

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()


@pytest.mark.parametrize(("glue", "why"), [("pinv", "pseudo-inverse"), ("adjoint", "linear"), ("reference", "1x8x8")])
def test_what_it_cannot_glue_is_said_before_anything_is_computed(glue: str, why: str) -> None:
    counted = CallCounter(PRIOR)  # type: ignore[arg-type]
    y = Measurement(torch.zeros(1, 1, 8, 8), Bare(), 0.05)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=rf"^psld: .*{why}") as raised:
        sample(counted, y, Noise(0, ["a"], "test"), Trace(), **choices("paper", glue=glue))
    assert "\n" not in str(raised.value)
    assert not counted.calls


def test_a_measurement_that_is_met_exactly_pulls_nowhere() -> None:
    """The norm has no gradient at 0; nothing becomes not-a-number."""
    y = Measurement(torch.zeros(1, 3, 8, 8), Mask(torch.zeros(1, 1, 8, 8)), 0.05)
    x = [
        sample(PRIOR, y, Noise(0, ["a"], "test"), Trace(), **choices("paper", omega=omega, gamma=0.0))
        for omega in (0.0, 0.5)
    ]
    assert torch.isfinite(x[1]).all()
    assert torch.equal(x[0], x[1])


def test_cost() -> None:
    """Each step goes once through denoiser, decoder and encoder and back; the result is decoded."""
    counted = CallCounter(PRIOR)  # type: ignore[arg-type]
    restored("paper", prior=counted, steps=10)
    assert counted.per_image(3) == {
        "denoiser_forward": 10,
        "denoiser_backward": 10,
        "decoder_forward": 11,
        "decoder_backward": 10,
        "encoder_forward": 10,
        "encoder_backward": 10,
    }

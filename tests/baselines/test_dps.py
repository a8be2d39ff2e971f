"""DPS against closed forms: where the prior is Gaussian, every step is linear algebra."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.dps import Transition, levels, sample, shift, spread, step
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

IDS = ("a", "b", "c")
DPS: dict[str, Any] = {"steps": 8, "zeta": 0.5, "scaling": "norm", "transition": "small", "clip": False}
DPS |= {"latent_fit_iterations": 0, "latent_fit_lr": 0.005}


@dataclass(frozen=True)
class Pixels(GaussianPrior):
    """Images are N(0, I), and the network knows how the variance lies between its bounds, at every pixel."""

    v: float | None = None

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.eps(z, t), None if self.v is None else torch.full_like(z, self.v)

    def decode(self, z: Tensor) -> Tensor:
        return z


@dataclass(frozen=True)
class Latents(GaussianPrior):
    """Latents are N(0, I) and seen through a bent decoder."""

    bend: float = 0.2

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None


def restored(prior: Any = None, ids: tuple[str, ...] = IDS, **changes: Any) -> Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return sample(prior or Pixels(), masked(3).select(rows), Noise(0, ids, "test"), Trace(), **DPS | changes)


def unguided(transition: Transition, steps: int, prior: Pixels, images: int = 60) -> Tensor:
    ids = tuple(f"image{i}" for i in range(images))
    options = DPS | {"zeta": 0.0, "transition": transition, "steps": steps}
    return sample(prior, masked(images), Noise(0, ids, "test"), Trace(), **options)


@pytest.mark.parametrize(
    ("transition", "v"),
    [("small", None), ("large", None), ("learned", 0.3), ("learned", None), (1.0, None), (0.4, None)],
)
def test_without_guidance_the_prior_is_sampled(transition: Transition, v: float | None) -> None:
    """The posterior mean of x_{j-1} given x_j is linear in x_j, so every x_j is Gaussian with a variance that follows:
    of ancestral sampling by Ho et al. 2020, Eq. 7, here in betas; of DDIM by Song et al. 2021, Eq. 12."""
    prior, steps = Pixels(v=v), 12
    a = prior.alpha_bar[[row.t for row in levels(prior.alpha_bar, steps, transition)]]
    a_prev = torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    betas = 1 - a / a_prev
    variance = 1.0
    for k in reversed(range(steps)):
        small = float(betas[k] * (1 - a_prev[k]) / (1 - a[k]))
        x0_per_x = float(a[k].sqrt())  # E x0 given x, for N(0, I)
        if isinstance(transition, str):
            gain = float(betas[k] * a_prev[k].sqrt() / (1 - a[k])) * x0_per_x
            gain += float((1 - a_prev[k]) * (1 - betas[k]).sqrt() / (1 - a[k]))
            share = {"small": 0.0, "large": 1.0, "learned": v or 0.0}[transition]
            added = float(betas[k]) ** share * small ** (1 - share) if k > 0 else 0.0
        else:
            added = transition**2 * small
            eps_per_x = float((1 - a[k]).sqrt())
            gain = float(a_prev[k].sqrt()) * x0_per_x + max(0.0, 1 - float(a_prev[k]) - added) ** 0.5 * eps_per_x
        variance = gain**2 * variance + added
    x = unguided(transition, steps, prior)
    assert x.mean().abs() < 5 * (variance / x.numel()) ** 0.5
    assert (x.var() / variance - 1).abs() < 5 * (2 / x.numel()) ** 0.5


def test_variances_lie_as_they_should() -> None:
    """Learned variances are geometric means of beta and beta~; v = 0 and 1 are the fixed ones."""
    row = levels(scaled_linear(), 10, "learned")[4]
    ends = [spread(row, name, None) for name in ("small", "large")]
    learned = [spread(row, "learned", torch.tensor([v], dtype=torch.float64)) for v in (0.0, 1.0, 0.5)]
    assert 0 < ends[0] < ends[1]
    for value, expected in zip(learned, [*ends, (ends[0] * ends[1]) ** 0.5], strict=True):
        assert float(value) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("scaling", ["squared_norm", "norm", "unit_clip"])
def test_a_guided_step_in_closed_form(scaling: Any) -> None:
    """With x0_hat = sqrt(a) x, grad ||y - m x0_hat|| is -sqrt(a) m r / ||r||."""
    prior, y = Pixels(), masked(3)
    row = levels(prior.alpha_bar, 8, "small")[5]
    x = Noise(0, IDS, "x").normal("x", prior.shape).double()
    move = step(prior, y, x, row, torch.zeros_like(x), zeta=0.7, scaling=scaling, transition="small", clip=False)
    r = y.y - y.operator(row.a**0.5 * x)
    norm = r.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    squared = -2 * row.a**0.5 * y.operator(r)
    size = squared.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    expected = {"squared_norm": squared / norm, "norm": squared / norm / 2, "unit_clip": squared / size.clamp(min=1)}
    assert torch.allclose(move.x0_hat, row.a**0.5 * x)
    assert torch.allclose(move.x, move.out - 0.7 * expected[scaling])


def test_where_the_prediction_leaves_its_range_it_is_clipped_and_has_no_gradient() -> None:
    prior = Pixels()
    y = Measurement(torch.zeros(1, 3, 8, 8, dtype=torch.float64), Identity(), 0.1)
    row = levels(prior.alpha_bar, 8, "small")[3]
    x = torch.full((1, 3, 8, 8), 0.5 / row.a**0.5, dtype=torch.float64)
    x[0, 0] *= 4
    options: dict[str, Any] = {"zeta": 1.0, "scaling": "norm", "transition": "small"}
    clipped, free = (step(prior, y, x, row, torch.zeros_like(x), clip=clip, **options) for clip in (True, False))
    assert torch.equal(clipped.x0_hat[0, 0], torch.ones(8, 8, dtype=torch.float64))
    assert free.x0_hat[0, 0, 0, 0] == pytest.approx(2)
    assert torch.equal((clipped.x - clipped.out)[0, 0], torch.zeros(8, 8, dtype=torch.float64))
    assert ((clipped.x - clipped.out)[0, 1:] < 0).all() and ((free.x - free.out)[0, 0] < 0).all()


def test_an_exact_prediction_is_left_where_it_is() -> None:
    gradient = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(shift(gradient, torch.zeros(2, dtype=torch.float64), "norm"), gradient)


@pytest.mark.parametrize(
    "changes",
    [{}, {"scaling": "squared_norm", "clip": True}, {"scaling": "unit_clip"}, {"transition": 0.3}, {"zeta": 20.0}],
)
def test_an_image_does_not_depend_on_its_batch(changes: dict[str, Any]) -> None:
    for prior in (Pixels(v=0.5), Latents()):
        together = restored(prior, **changes)
        reordered = restored(prior, ("c", "a", "b"), **changes)
        alone = torch.cat([restored(prior, (one,), **changes) for one in IDS])
        assert together.shape == (3, 3, 8, 8) and torch.isfinite(together).all()
        assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6)
        assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("transition", ["learned", "large", 0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 37])
def test_any_number_of_steps(steps: int, transition: Transition) -> None:
    counted = CallCounter(Pixels(v=0.5))
    x = restored(counted, steps=steps, transition=transition)
    assert torch.isfinite(x).all()
    assert counted.calls == dict.fromkeys(("denoiser_forward", "denoiser_backward"), 3 * steps)
    rows = levels(scaled_linear(), steps, transition)
    assert [row.t for row in rows] == sorted({row.t for row in rows}) and rows[-1].t == 999


def test_more_steps_than_the_schedule_has() -> None:
    with pytest.raises(UserError, match="steps=21"):
        restored(replace(Pixels(), alpha_bar=scaled_linear(20)), steps=21)


@pytest.mark.parametrize("prior", [Pixels(), Latents()], ids=["pixel", "latent"])
def test_guidance_brings_the_result_towards_the_measurement(prior: GaussianPrior) -> None:
    y = masked(3)
    misfits = [(y.y - y.operator(restored(prior, steps=40, zeta=zeta))).norm() for zeta in (2.0, 0.0)]
    assert misfits[0] < 0.5 * misfits[1]


def test_ddim_with_eta_1_is_ancestral_sampling_with_the_posteriors_variance() -> None:
    assert torch.allclose(restored(transition=1.0), restored(transition="small"))
    assert not torch.allclose(restored(transition=0.5), restored(transition="small"))


def test_clipping_latents_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="method=latent_dps") as error:
        restored(replace(Latents(), shape=(3, 4, 4)), clip=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fit", [0, 5])
def test_ldps_is_ldsmc_without_labels_and_with_one_particle(fit: int) -> None:
    """LD-SMC has s = 0 for deblurring of ImageNet, where its paper's two rows are the same."""
    prior = replace(Latents(), alpha_bar=scaled_linear(12))
    ours, theirs = (
        arguments(
            f"method={method}",
            "particles=1",
            "steps=12",
            "dataset=imagenet",
            "task=gaussian_deblur",
            "prior=ldm_toyfaces",
            "prior.tuning=imagenet",
        )
        for method in ("latent_dps", "ldsmc")
    )
    assert theirs["s"] == 0 and ours["zeta"] == theirs["kappa1"] == 0.5
    assert ours["latent_fit_iterations"] == theirs["latent_fit_iterations"] == 500
    y = masked(3)
    x = sample(prior, y, Noise(0, IDS, "test"), Trace(), **ours | {"latent_fit_iterations": fit})
    z = ldsmc.sample(prior, y, Noise(0, IDS, "test"), Trace(), **theirs | {"latent_fit_iterations": fit})
    assert torch.allclose(x, z, atol=1e-6)

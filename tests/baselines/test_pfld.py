"""PFLD: the particle filter over PSLD's steps, against PSLD itself, closed forms and symmetries."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines import pfld, psld
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Mask
from ldsmc_bench.sampling.trace import Trace
from tests.baselines.test_psld import Bare
from tests.commands import arguments
from tests.sampling.gaussian import GaussianPrior, masked

PRIOR = GaussianPrior(bend=0.2)
VARIANTS = ("paper", "early")
FIT = ("latent_fit_iterations", "latent_fit_lr")
IDS = ("a", "b", "c")


def choices(variant: str, **changes: Any) -> dict[str, Any]:
    return arguments("method=pfld", f"variant={variant}", "steps=10", "particles=4") | changes


def restored(variant: str, ids: tuple[str, ...] = IDS, **changes: Any) -> Tensor:
    rows = torch.tensor([IDS.index(i) for i in ids])
    return pfld.sample(PRIOR, masked(3).select(rows), Noise(0, ids, "test"), Trace(), **choices(variant, **changes))


class Shuffled(Noise):
    """The particles' draws in another order."""

    def __init__(self, order: list[int]) -> None:
        super().__init__(0, IDS, "test")
        self.order = order

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        draws = super().normal(name, shape)
        return draws[:, self.order] if shape[0] == len(self.order) else draws


class Only(Noise):
    """The draws of one of four particles, for a run of one."""

    def __init__(self, particle: int) -> None:
        super().__init__(0, IDS, "test")
        self.particle = particle

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        return super().normal(name, (4, *shape))[:, self.particle]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "shared",
    [
        {"eta": 1.0, "chain": "paper", "glue": "pinv", "prediction_noise": False},
        {"eta": 0.0, "chain": "released", "glue": "reference", "prediction_noise": True},
    ],
)
def test_one_particle_is_psld(variant: str, shared: dict[str, Any]) -> None:
    options = choices(variant, particles=1, latent_fit_iterations=3, **shared)
    alone = pfld.sample(PRIOR, masked(3), Noise(0, IDS, "test"), Trace(), **options)
    common = {key: options[key] for key in ("steps", "omega", "gamma", *FIT)} | shared
    assert torch.equal(alone, psld.sample(PRIOR, masked(3), Noise(0, IDS, "test"), Trace(), **common))


@pytest.mark.parametrize("changes", [{"resample_below": 0.0}, {"prune": 0.5, "every": 0.2, "eta": 0.0}])
def test_the_order_of_the_particles_does_not_matter(changes: dict[str, Any]) -> None:
    """Where nothing is drawn among them."""
    options = choices("paper", **changes)
    results = [
        pfld.sample(PRIOR, masked(3), Shuffled(order), Trace(), **options) for order in ([0, 1, 2, 3], [2, 0, 3, 1])
    ]
    assert torch.allclose(*results, atol=1e-9)


def test_equal_residuals_give_uniform_weights() -> None:
    """Nothing is observed, so that all particles fit alike: the ESS stays N and none is resampled."""
    y = Measurement(torch.full((1, 3, 8, 8), 0.3), Mask(torch.zeros(1, 1, 8, 8)), 0.05)
    trace = Trace(keep=None)
    pfld.sample(PRIOR, y, Noise(0, ["a"], "test"), trace, **choices("paper"))
    assert all(torch.allclose(ess, torch.tensor(4.0, dtype=torch.float64)) for ess in trace.values["ess"].values())
    assert len(trace.values["ess"]) == 10
    assert not any(due.any() for due in trace.values["resampled"].values())


@pytest.mark.parametrize("cauchy", [0.1, 1.0, 10.0])
def test_the_first_weights_are_a_cauchy_density_of_the_residual(cauchy: float) -> None:
    y, trace = masked(3), Trace(keep=None)
    options = choices("paper", cauchy=cauchy)
    pfld.sample(GaussianPrior(), y, Noise(0, IDS, "test"), trace, **options)
    z = Noise(0, IDS, "test").normal("init", (4, *PRIOR.shape)).double()
    x = PRIOR.alpha_bar[-1] ** 0.5 * z / 2
    residual = (y.y[:, None] - y.operator.mask[:, None] * x).flatten(2).norm(dim=2)  # type: ignore[attr-defined]
    weights = 1 / (1 + (residual / cauchy) ** 2)
    expected = weights / weights.sum(dim=1, keepdim=True)
    assert torch.allclose(trace.values["log_weights"][9].exp(), expected, atol=1e-9)


def test_without_weights_the_best_fitting_of_independent_runs_is_returned() -> None:
    y, options = masked(3), choices("paper", weigh_until=0.0)
    together = pfld.sample(PRIOR, y, Noise(0, IDS, "test"), Trace(), **options)
    alone = []
    for particle in range(4):
        names = ("steps", "eta", "omega", "gamma", "chain", "glue", "prediction_noise", *FIT)
        common = {key: options[key] for key in names}
        alone.append(psld.sample(PRIOR, y, Only(particle), Trace(), **common))
    fits = torch.stack([(y.y - y.operator(x)).flatten(1).norm(dim=1) for x in alone])
    best = torch.stack(alone)[fits.argmin(dim=0), torch.arange(3)]
    assert len(fits.argmin(dim=0).unique()) > 1
    assert torch.allclose(together, best, atol=1e-9)


def test_weights_prefer_particles_that_fit() -> None:
    y = masked(3)
    weak = {"omega": 0.05, "gamma": 0.0, "steps": 20}
    many, one = (restored("paper", particles=n, **weak) for n in (40, 1))
    misfit, before = ((y.y - y.operator(x)).flatten(1).norm(dim=1).mean() for x in (many, one))
    assert misfit < 0.9 * before


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("changes", [{}, {"cauchy": 0.01, "resample_below": 1.0, "resample": "multinomial"}])
def test_an_image_does_not_depend_on_its_batch(variant: str, changes: dict[str, Any]) -> None:
    together = restored(variant, **changes)
    reordered = restored(variant, ("c", "a", "b"), **changes)
    alone = torch.cat([restored(variant, (one,), **changes) for one in IDS])
    assert together.shape == (3, 3, 8, 8)
    assert torch.allclose(together, reordered[[1, 2, 0]], atol=1e-6, rtol=0)
    assert torch.allclose(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_repeats(variant: str) -> None:
    assert torch.equal(restored(variant), restored(variant))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 2, 3, 36])
@pytest.mark.parametrize("particles", [1, 2, 5])
def test_any_number_of_steps_and_particles(variant: str, steps: int, particles: int) -> None:
    assert torch.isfinite(restored(variant, steps=steps, particles=particles)).all()


def calls(variant: str, **changes: Any) -> dict[str, float]:
    counted = CallCounter(PRIOR)  # type: ignore[arg-type]
    pfld.sample(counted, masked(3), Noise(0, IDS, "test"), Trace(), **choices(variant, **changes))
    return counted.per_image(3)


def test_weighing_costs_nothing_but_the_decodes_among_which_one_is_chosen() -> None:
    cost = calls("paper", particles=5)
    assert {cost[f"{name}_{way}"] for name in ("denoiser", "encoder") for way in ("forward", "backward")} == {50}
    assert cost["decoder_forward"] == 50 + 5


def test_early_pruning_leaves_one_of_ten_for_the_rest() -> None:
    """Of 50 steps 15 weigh; after the 3rd, 6th, 9th and 12th half of the particles stay, rounded up."""
    cost = calls("early", particles=10, steps=50)
    assert cost["denoiser_forward"] == 3 * (10 + 5 + 3 + 2) + 38
    assert cost["decoder_forward"] == cost["denoiser_forward"] + 1


def test_diagnostics_are_a_table() -> None:
    """Of every step that weighs; after two of them `early` has one of its four particles left."""
    for variant, weighed in (("paper", 10), ("early", 2)):
        trace = Trace()
        options = choices(variant)
        pfld.sample(PRIOR, masked(3), Noise(0, IDS, "test"), trace, **options)
        tables = trace.per_image()
        assert all(len(table["ess"]) == len(table["resampled"]) == weighed for table in tables)
        assert all(1 - 1e-9 <= value <= 4 + 1e-9 for table in tables for value in table["ess"])


def test_what_it_cannot_glue_is_said_in_its_own_name() -> None:
    y = Measurement(torch.zeros(1, 1, 8, 8), Bare(), 0.05)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=r"^pfld: .*pseudo-inverse"):
        pfld.sample(PRIOR, y, Noise(0, ["a"], "test"), Trace(), **choices("paper"))

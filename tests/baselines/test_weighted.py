"""Samplers with weights where the answer is known: the evidence of the chain of 20 steps, and the posterior's moments.

What each claims is that its weights are right whatever its proposal: a factor left out or one too many shows here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from baselines.das import Tempered
from baselines.guided_model import GuidedModel
from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.report.select import NAMES
from ldsmc_bench.sampling.trace import Trace
from tests.commands import configured
from tests.sampling.gaussian import GaussianPrior, masked
from tests.sampling.known import Known, chain_law, draw, known

STEPS, RUNS = 20, 500
CASES = [(name, "default") for name in ("tds", "das", "fk", "ddsmc", "mcgdiff", "fps", "afdps")]
CASES += [("fk", "max"), ("fk", "sum"), ("das", "adaptive")]
GUIDANCE = ("dps", "pigdm", "tmpd", "mmps", "diffpir", "lgd")  # which weighted=true makes a proposal
CASES += [(f"{name} weighted=true", "default") for name in GUIDANCE]
# Whose evidence varies too much for its mean to be seen
VARIED = ("mcgdiff", "default"), ("das", "adaptive"), ("dps weighted=true", "default"), ("lgd weighted=true", "default")


@pytest.fixture(scope="module")
def problem() -> Known:
    return known("single", 4, steps=STEPS, sigma_max=20.0)


@dataclass(frozen=True)
class Figures:
    """The mean of Z_hat/Z - 1 and its error; of draws the largest bias of a coordinate in standard deviations, and the
    least and largest ratio of variances."""

    bias: float
    error: float
    apart: float
    least: float
    largest: float

    @property
    def unbiased(self) -> bool:
        return abs(self.bias) <= 0.02 + 3 * self.error and self.error <= 0.08

    @property
    def near(self) -> bool:
        return self.apart <= 0.35 and self.least >= 0.75 and self.largest <= 1.3


def figures(problem: Known, name: str, variant: str) -> Figures:
    overrides = *f"method={name}".split(), f"variant={variant}", f"steps={STEPS}", "particles=100"
    sample = instantiate(validate(configured("dataset=mixture", *overrides)).config["method"]["sample"])
    z = draw(problem, RUNS, sample, trace := Trace())
    posterior, log_evidence = problem.posterior(chain_law(problem.law, problem.rows(STEPS)))
    ratio = torch.exp(trace.values["log_evidence"][0] - log_evidence)
    mean, covariance = posterior.moments()
    variance = covariance.diagonal()
    apart = ((z.mean(dim=0) - mean) / variance.sqrt()).abs().max()
    ratios = z.var(dim=0) / variance
    values = ratio.mean() - 1, ratio.std() / RUNS**0.5, apart, ratios.min(), ratios.max()
    return Figures(*map(float, values))


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_evidence_is_unbiased_and_the_draw_is_of_the_posterior(problem: Known, name: str, variant: str) -> None:
    found = figures(problem, name, variant)
    assert found.near and (found.unbiased or (name, variant) in VARIED), found


def without_density_of_the_proposal(model: GuidedModel, k: int, view: object) -> tuple[Tensor, Tensor]:  # type: ignore[type-arg]
    z, log_ratio = DRAW(model, k, view)
    return z, torch.zeros_like(log_ratio)


DRAW = GuidedModel.draw


@pytest.mark.parametrize("name", ["tds", "das"])
def test_a_lost_factor_shows(problem: Known, name: str) -> None:
    with patch.object(GuidedModel, "draw", without_density_of_the_proposal):
        assert not (found := figures(problem, name, "default")).unbiased, found


def test_weights_of_a_guided_denoiser_cost_no_call_of_the_denoiser(problem: Known) -> None:
    overrides = "dataset=mixture", "method=pigdm", "weighted=true", f"steps={STEPS}", "particles=5"
    settings = validate(configured(*overrides))
    counted = CallCounter(problem.prior.conditioned([problem.number]))
    instantiate(settings.config["method"]["sample"])(counted, problem.measurement, Noise(0, ["a"], "test"), Trace())
    assert counted.calls["denoiser_forward"] == 5 * STEPS
    assert counted.calls["denoiser_backward"] == 5 * (STEPS - 1)


def test_guidance_with_weights_keeps_the_methods_own_numbers() -> None:
    alone, weighted = (
        validate(configured("method=dps", "task=sr4", "method.sample.clip=false", *more)) for more in ((), WEIGHTED)
    )
    assert weighted.sample.items() >= alone.sample.items() and weighted.sample["particles"] == 3
    assert (alone.labels.method, weighted.labels.method) == ("dps", "dps_weighted")
    assert str(configured("method=dps", *WEIGHTED).method.weighted.name) in NAMES["method"]


WEIGHTED = ("weighted=true", "particles=3")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("method=ldsmc",), r"weighted=true: ldsmc .*there are: diffpir, dps, lgd, mmps, pigdm, tmpd$"),
        (("method=pigdm", "variant=paper"), "weighted=true: a move needs fresh noise"),
        (("method=dps", "method.sample.latent_fit_iterations=2"), "weighted=true: no weight follows a latent fit"),
    ],
)
def test_what_has_no_density_takes_no_weights(overrides: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sample = instantiate(validate(configured(*overrides, *WEIGHTED, "steps=2")).config["method"]["sample"])
        sample(GaussianPrior(), masked(1), Noise(0, ["a"], "test"), Trace())


def test_temperatures_rise_to_the_likelihood() -> None:
    """min(1, (1 + gamma)^i - 1) at gamma = 0.008 is 1 from step 87 of 100 on, and at the same share of other chains."""
    for steps, last in ((100, 14), (50, 7)):
        model = Tempered(GaussianPrior(), masked(1), Noise(0, ["a"], "test"), 1, steps)
        model.gamma = 0.008
        temperatures = [model.schedule(k) for k in reversed(range(steps + 1))]
        assert temperatures[0] == 0 and temperatures == sorted(temperatures)
        assert model.schedule(last) < 1 == model.schedule(last - 2)


@pytest.mark.parametrize("name", ["ddsmc", "mcgdiff", "fps", "afdps"])
def test_latents_are_no_spectral_samplers_task(name: str) -> None:
    sample = instantiate(validate(configured(f"method={name}", "particles=2", "steps=2")).config["method"]["sample"])
    with pytest.raises(Unsupported, match=f"{name}: needs a linear measurement of the prior's variable"):
        sample(GaussianPrior(), masked(1), Noise(0, ["a"], "test"), Trace())

"""LD-SMC's exact variant where the answer is known, and nine mistakes that this must find out.

The prior is one Gaussian, so the chain of 20 steps is affine, and its posterior and evidence are closed form: what the
sampler is exact for, without any allowance for steps. (The evidence of an estimator that is broken may have a standard
error so large that it looks unbiased; so that is bounded too.)
"""

import inspect
from collections.abc import Callable
from textwrap import dedent
from typing import Any
from unittest.mock import patch

import pytest
import torch
from known import Known, chain_law, known, runs
from torch import Tensor

from ldsmc_bench.sampling import ldsmc, smc
from ldsmc_bench.sampling.particles import LatentModel
from ldsmc_bench.sampling.twisted import TwistedModel

STEPS, MANY = 20, 60
Sample = Callable[..., Tensor]


@pytest.fixture(scope="module")
def problem() -> Known:
    return known("single", 4, steps=STEPS, sigma_max=20.0)


def evidence(problem: Known, log_evidences: Tensor) -> tuple[float, float]:
    """The mean of Z_hat/Z - 1 over runs, and its standard error."""
    _, log_evidence = problem.posterior(chain_law(problem.law, problem.rows(STEPS)))
    ratio = torch.exp(log_evidences - log_evidence)
    return float(ratio.mean() - 1), float(ratio.std() / len(ratio) ** 0.5)


def moments(problem: Known, z: Tensor) -> tuple[float, float, float]:
    """The largest bias over the coordinates, in standard deviations, and the least and largest ratio of variances."""
    posterior, _ = problem.posterior(chain_law(problem.law, problem.rows(STEPS)))
    mean, covariance = posterior.moments()
    variance = covariance.diagonal()
    ratio = z.var(dim=0) / variance
    return float(((z.mean(dim=0) - mean) / variance.sqrt()).abs().max()), float(ratio.min()), float(ratio.max())


def within_bounds(problem: Known, z: Tensor, log_evidences: Tensor) -> bool:
    bias, error = evidence(problem, log_evidences)
    apart, least, largest = moments(problem, z)
    return abs(bias) <= 0.04 and error <= 0.02 and apart <= 0.08 and least >= 0.88 and largest <= 1.12


def test_the_evidence_is_unbiased(problem: Known) -> None:
    z, log_evidences, _ = runs(problem, 2000, particles=20, steps=STEPS)
    assert within_bounds(problem, z, log_evidences)
    # of a nearly normal logarithm, which then falls short by half its variance
    _, truth = problem.posterior(chain_law(problem.law, problem.rows(STEPS)))
    assert float(truth - log_evidences.mean()) == pytest.approx(float(log_evidences.var() / 2), abs=0.02)


def test_many_particles_are_exact_too(problem: Known) -> None:
    """As the heaviest of so many is not."""
    z, log_evidences, _ = runs(problem, 2000, particles=MANY, steps=STEPS)
    assert within_bounds(problem, z, log_evidences)


LINES: dict[str, tuple[Any, str, str, str]] = {  # of functions
    "log pbar(y_0|z) not gathered": (LatentModel, "look_on", "log_psi.gather(1, ancestors)", "log_psi"),
    "mu not gathered": (LatentModel, "look_on", "mean[flat_indices(ancestors)]", "mean"),
    "weights not reset": (smc, "run", "ancestors, weights, resampled =", "ancestors, _, resampled ="),
    "no p/pi": (TwistedModel, "log_weight", "if now.sigma == 0 else", "if now.sigma >= 0 else"),
    "first weight forgotten": (
        smc,
        "run",
        "if log_factor is not None:",
        "if log_factor is not None and k < model.moves:",
    ),
}
CHOICES: dict[str, dict[str, Any]] = {
    "mean over dimensions": {"temperature": "mean"},
    "heaviest particle": {"choose": "argmax", "particles": MANY},
    "variance of the first level": {"final_variance": "schedule"},
    "mean of the next move": {"prior_mean": "after"},
}


def mutated(owner: Any, name: str, old: str, new: str) -> Sample:
    """LD-SMC with a line changed in one of its functions."""
    function = getattr(owner, name)
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"the line to change is gone: {old}"
    names: dict[str, Any] = {}
    exec(compile(dedent(source.replace(old, new)), "mutated", "exec"), function.__globals__, names)

    def sample(*problem: Any, **chosen: Any) -> Tensor:
        with patch.object(owner, name, names[name]):
            return ldsmc.sample(*problem, **chosen)

    return sample


MUTATIONS = {name: (mutated(*lines), {}) for name, lines in LINES.items()}
MUTATIONS |= {name: (ldsmc.sample, chosen) for name, chosen in CHOICES.items()}
HARMLESS: dict[str, dict[str, Any]] = {
    "multinomial at every step": {"resample": "multinomial", "resample_below": 1},
    "stratified": {"resample": "stratified"},
    "residual": {"resample": "residual"},
    "tmpd": {"twist": "tmpd"},
    "ray": {"twist": "ray"},
    "tds": {"twist": "tds", "gain": "sigma2"},
    "clipped": {"clip": 2.0},
    "no defence, no floor": {"defensive": 0.0, "floor": None},
}


@pytest.mark.parametrize("chosen", HARMLESS.values(), ids=HARMLESS)
def test_other_choices_are_exact_too(problem: Known, chosen: dict[str, Any]) -> None:
    _, log_evidences, _ = runs(problem, 1000, particles=20, steps=STEPS, **chosen)
    bias, error = evidence(problem, log_evidences)
    assert abs(bias) <= 0.06 and error <= 0.03  # of half the runs


@pytest.mark.parametrize(("sample", "chosen"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_mistake_fails_a_bound(problem: Known, sample: Sample, chosen: dict[str, Any]) -> None:
    z, log_evidences, _ = runs(problem, 2000, sample, **{"particles": 20, "steps": STEPS} | chosen)
    assert not within_bounds(problem, z, log_evidences)

"""What the choices of the exact variant are: which of them reduce it to the paper's, sweeps, islands, their cost."""

from typing import Any

import pytest
import torch
from gaussian import GaussianPrior, masked
from known import Known, known, runs
from test_exactness import moments

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.sampling.ldsmc import sample
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments

REDUCED = {
    "twist": "paper",
    "gain": "paper",
    "floor": None,
    "defensive": 0.0,
    "resample": "multinomial",
    "resample_below": 1,
    "evidence": False,
    "conditional": False,
}


def chosen(variant: str, **changes: Any) -> dict[str, Any]:
    return arguments(f"variant={variant}", "particles=3", "steps=8") | changes


def restored(variant: str, trace: Trace | None = None, **changes: Any) -> torch.Tensor:
    noise = Noise(0, ("a", "b", "c"), "test")
    return sample(GaussianPrior(bend=0.2), masked(3), noise, trace or Trace(), **chosen(variant, **changes))


def log_weights(variant: str, **changes: Any) -> torch.Tensor:
    """Of every step, before they are normalised."""
    trace = Trace(keep=None)
    restored(variant, trace, **changes)
    return torch.stack(list(trace.values["log_weights"].values()))


@pytest.mark.parametrize("s", [None, 0.0, 0.5])
def test_these_options_and_no_others_reduce_it_to_the_papers(s: float | None) -> None:
    """Gains of App. D, V = (1 - a) I, no defence, no floor, multinomial resampling at every step."""
    assert torch.equal(restored("exact", **REDUCED, s=s), restored("paper", s=s))


@pytest.mark.parametrize("option", [key for key in REDUCED if key not in ("floor", "evidence", "conditional")])
def test_each_of_these_options_matters(option: str) -> None:
    """But for the floor, which is out of reach here, what evidence lets out, and sweeps, of which there is one."""
    others = {key: value for key, value in REDUCED.items() if key != option}
    value = {"twist": "tds", "resample": "systematic", "resample_below": 0.5, "gain": "drift", "defensive": 0.5}[option]
    exact = log_weights("exact", **others, **{option: value})
    assert not torch.allclose(exact, log_weights("paper", s=None))


def test_labels_may_guide_without_weighing() -> None:
    labelled = {**REDUCED, "s": 0.5}
    assert not torch.equal(restored("exact", **labelled, labels_in_target=False), restored("exact", **labelled))
    with pytest.raises(UserError, match=r"method\.sample\.gain=drift: labels guide by the paper's"):
        restored("exact", s=0.5, twist="tds")


def test_a_prior_that_was_not_calibrated_is_told() -> None:
    with pytest.raises(UserError, match=r"method\.sample\.twist=cal: this prior was not calibrated"):
        restored("exact")


@pytest.fixture(scope="module")
def problem() -> Known:
    return known("single", 4, steps=20, sigma_max=20.0)


def test_further_sweeps_keep_their_path_and_near_the_posterior(problem: Known) -> None:
    once, _, _ = runs(problem, 500, particles=3, steps=20, twist="tds")
    swept, _, _ = runs(problem, 500, particles=3, steps=20, twist="tds", gibbs_iterations=8)
    assert moments(problem, swept)[0] < 0.5 * moments(problem, once)[0]


def test_islands_stand_for_themselves_by_their_evidence(problem: Known) -> None:
    """The same particles in several islands, each with its own estimate; with N = 1 that is importance sampling of
    whole paths, which takes the bias away that one path has."""
    alone, _, _ = runs(problem, 500, particles=1, steps=20, twist="tds")
    z, _, trace = runs(problem, 500, particles=1, steps=20, twist="tds", islands=20)
    estimates = torch.stack(list(trace.values["log_evidence"].values()))
    assert estimates.shape == (20, 500)
    assert moments(problem, z)[0] < 0.6 * moments(problem, alone)[0]


def test_its_cost(problem: Known) -> None:
    """N T denoiser calls and N (T - 1) backward, with one particle too: the last move is not guided."""
    for particles in (1, 5):
        counted = CallCounter(problem.prior.conditioned([4]))
        options = arguments("dataset=mixture", "variant=exact") | {"particles": particles, "steps": 20}
        sample(counted, problem.measurement, Noise(0, ["a"], "test"), Trace(), **options)
        assert counted.calls["denoiser_forward"] == 20 * particles
        assert counted.calls["denoiser_backward"] == 19 * particles

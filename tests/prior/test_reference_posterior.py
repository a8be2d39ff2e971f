"""Reference draws of posteriors without a closed form: against integrals on a grid, and what they are refused for."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture import draw_posterior
from ldsmc_bench.mixture.difficulty import difficulty
from ldsmc_bench.mixture.law import GaussianMixture, law_of
from ldsmc_bench.mixture.posterior import Known
from ldsmc_bench.mixture.prior import MixturePrior
from ldsmc_bench.mixture.reference import ReferencePosterior
from ldsmc_bench.mixture.shipped import shipped
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.toyfaces.assets import check_digest, training_facts
from tests.commands import command, configured, records, runs, tiny

TASKS, KINDS = ("phase", "clip", "quantise"), ("lattice", "scattered")
PROBLEMS = {2: 4, 8: 8}  # that ship, by the entries of a vector


@cache
def measured(task: str, kind: str, dx: int, *more: str) -> tuple[MixturePrior, Measurement]:
    """The prior and the measurements of a run's first problems, float64."""
    keys = (f"task={task}", f"dataset.kind={kind}", f"dataset.dx={dx}")
    settings = validate(configured("dataset=mixture", *keys, *more))
    problem = problem_of(settings, instantiate(settings.config["dataset"]["load"]))
    batch = load_batch(problem, first_draws(problem.dataset.ids[: PROBLEMS[dx]]), 1)
    assert batch.measurement is not None
    return instantiate(settings.config["prior"]["load"]), batch.measurement.to("cpu", torch.float64)


def answer(task: str, kind: str, dx: int, number: int) -> Known:
    prior, measurement = measured(task, kind, dx)
    return prior.posterior(measurement.select(torch.tensor([number])), number)


def facts(path: Path) -> dict[str, dict[str, float]]:
    problems: dict[str, dict[str, float]] = training_facts(path)["problems"]
    return problems


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dx", PROBLEMS)
def test_what_ships_is_of_the_problems_that_runs_have(task: str, kind: str, dx: int) -> None:
    for number in range(PROBLEMS[dx]):
        posterior = answer(task, kind, dx, number).posterior
        assert isinstance(posterior, ReferencePosterior)
        assert posterior.draws.shape == (10_000, dx)
        assert posterior.weights.sum() == pytest.approx(1)


def test_the_two_ways_agreed_on_all_that_ships() -> None:
    """Within twice what they differ from themselves in the mean, and so many draws count that nothing hangs on few."""
    paths = sorted(shipped("references").glob("*.safetensors"))
    assert len(paths) == len(TASKS) * len(KINDS) * len(PROBLEMS)
    ratios = []
    for path in paths:
        check_digest(path)
        assert path.stat().st_size < 5e6
        for problem in facts(path).values():
            assert problem["ess"] > 10_000
            assert problem["log_evidence_error"] < 0.02
            assert problem["rounded"] < 0.2 * problem["sw1_error"]
            ratios.append([problem["sw1"] / problem["sw1_error"], problem["weights"] / problem["weights_error"]])
    assert len(ratios) == len(TASKS) * len(KINDS) * sum(PROBLEMS.values())
    assert (torch.tensor(ratios).square().mean(dim=0).sqrt() < 2).all()


def integrals(law: GaussianMixture, measurement: Measurement) -> tuple[float, Tensor, Tensor]:
    """log p(y), the posterior's mean (2,) and weights (K,), by sums over a grid of the plane."""
    line = torch.arange(-24, 24, 0.1, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    normal = torch.distributions.MultivariateNormal(law.means, law.covariances)
    prior = law.log_weights.exp() * normal.log_prob(points[:, None]).exp()
    predicted = measurement.operator.select(torch.zeros(len(points), dtype=torch.long))(points[..., None, None])
    likelihood = torch.distributions.Normal(predicted[:, 0, 0], measurement.noise_std)
    each = prior * likelihood.log_prob(measurement.y[0, 0, 0]).sum(dim=1).exp()[:, None]
    total = each.sum()
    return float((total * 0.1**2).log()), each.sum(dim=1) @ points / total, each.sum(dim=0) / total


@pytest.mark.parametrize("task", TASKS)
def test_integrals_over_the_plane_are_those_of_the_draws(task: str) -> None:
    for kind, number in zip(KINDS, (0, 1), strict=True):
        posterior, log_evidence = answer(task, kind, 2, number)
        _, measurement = measured(task, kind, 2)
        expected = integrals(law_of(kind, 2, 0, number), measurement.select(torch.tensor([number])))
        mean, variance = posterior.mean_and_variance()
        assert log_evidence == pytest.approx(expected[0], abs=0.03)
        assert ((mean - expected[1]).abs() < 4 * (variance / 10_000).sqrt()).all()
        assert torch.allclose(posterior.weights, expected[2], atol=0.02)
        entropy = -float(torch.special.xlogy(expected[2], expected[2]).sum())
        assert difficulty(posterior)["entropy"] == pytest.approx(entropy, abs=0.05)


def test_the_density_is_bayes_rule_and_autograd_gives_its_score() -> None:
    posterior = answer("phase", "scattered", 2, 0).posterior
    law, x = law_of("scattered", 2, 0, 0), posterior.sample(5, torch.Generator().manual_seed(0)).requires_grad_()
    _, measurement = measured("phase", "scattered", 2)
    matrix = measurement.operator.inner.matrices[0]  # type: ignore[attr-defined]
    misfit = measurement.y[0, 0, 0] - (x @ matrix.T).abs()
    by_hand = law.log_density(x) - misfit.square().sum(dim=1) / (2 * 0.5**2)
    assert torch.allclose(posterior.log_density(x).diff(), by_hand.diff())
    scores = [torch.autograd.grad(value.sum(), x)[0] for value in (posterior.log_density(x), by_hand)]
    assert torch.allclose(*scores)


def test_no_draw_is_given_twice_before_all_were_there() -> None:
    posterior = answer("clip", "lattice", 2, 0).posterior
    drawn = [posterior.sample(count, torch.Generator().manual_seed(0)) for count in (10_000, 10_000, 20_000)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2][:10_000].sort(dim=0).values, drawn[2][10_000:].sort(dim=0).values)
    assert torch.equal(drawn[0].sort(dim=0).values, drawn[2][:10_000].sort(dim=0).values)


def test_problems_without_draws_name_the_command_that_makes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    prior, measurement = measured("clip", "lattice", 2)
    one = measurement.select(torch.tensor([0]))
    keys = "task=clip task.operator.dy=2 task.operator.limit=3.0 task.noise_std=0.5 dataset.kind=lattice dataset.dx=2"
    with pytest.raises(UserError, match=f"make them: python -m ldsmc_bench draw-posterior {keys} seed=0 n_images=10"):
        prior.posterior(one, 9)
    with pytest.raises(UserError, match="problem-0001 has another matrix than its reference draws"):
        prior.posterior(one, 1)
    with pytest.raises(UserError, match="problem-0000 has another y than its reference draws"):
        prior.posterior(Measurement(one.y + 0.1, one.operator, one.noise_std), 0)
    prior, measurement = measured("clip", "lattice", 2, "task.operator.limit=2.0")
    with pytest.raises(UserError, match=r"task\.operator\.limit=2\.0"):
        prior.posterior(measurement.select(torch.tensor([0])), 0)


def test_the_command_keeps_draws_where_runs_find_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    for name, value in {"DRAWS": 500, "TRIED": 2000, "CHAINS": 50, "BURN_IN": 50, "APART": 3}.items():
        monkeypatch.setattr(draw_posterior, name, value)
    keys = ("task=phase", "task.operator.dy=1", "dataset.kind=scattered", "dataset.dx=2", "n_images=1")
    assert draw_posterior.main(keys) == 0, capsys.readouterr().err
    prior, measurement = measured("phase", "scattered", 2, "task.operator.dy=1")
    posterior = prior.posterior(measurement.select(torch.tensor([0])), 0).posterior
    assert isinstance(posterior, ReferencePosterior) and posterior.draws.shape == (500, 2)
    assert draw_posterior.main(["task=linear"]) == 2
    assert "task=linear: its posterior is in closed form" in capsys.readouterr().err


def test_draws_of_the_wrong_law_are_told_apart_from_their_own_errors() -> None:
    """What the two ways differ by is compared with `expected`: about 1 for one law, far more for two."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 4000, 2, generator=generator, dtype=torch.float64)

    def distance(one: Tensor, other: Tensor) -> float:
        return float((one.mean(dim=0) - other.mean(dim=0)).norm())

    sets: Sequence[tuple[Tensor, Tensor]] = [(a, b), (a, c + 0.2)]
    ratios = [distance(*pair) / draw_posterior.expected(distance, *pair) for pair in sets]
    assert ratios[0] < draw_posterior.BOUND < ratios[1]


def test_a_run_on_a_nonlinear_task(tmp_path: Path) -> None:
    done = tiny(tmp_path, "dataset=mixture", "task=quantise", "draws=60", "steps=4", "variant=exact")
    assert done.code == 0, done.err
    (run,) = runs(tmp_path)
    for record in records(run).values():
        assert {"sw1_ratio", "log_evidence_gap"} <= set(record["metrics"])


def test_a_run_without_reference_draws_ends_in_a_line(tmp_path: Path) -> None:
    done = tiny(tmp_path, "dataset=mixture", "task=phase", "dataset.dx=4", "draws=50")
    assert done.code != 0
    assert "problem-0000 has no reference draws; make them: python -m ldsmc_bench draw-posterior" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_both_ways_make_what_ships(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    done = command(tmp_path, "draw-posterior", f"task={task}", "n_images=1")
    assert done.code == 0, done.err
    (made,) = (tmp_path / "references").glob("*.safetensors")
    again, kept = facts(made)["problem-0000"], facts(shipped("references") / made.name)["problem-0000"]
    assert again["log_evidence"] == pytest.approx(kept["log_evidence"], abs=1e-6)
    assert again["sw1"] < draw_posterior.BOUND * again["sw1_error"]

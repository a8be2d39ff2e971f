"""The networks that learned mixtures: how far from the exact prediction, and as priors of runs."""

from pathlib import Path

import pytest
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture import learned as module
from ldsmc_bench.mixture.law import law_of
from ldsmc_bench.mixture.learned import PROBLEMS, LearnedPrior, learned, train
from ldsmc_bench.mixture.prior import mixture
from ldsmc_bench.mixture.shipped import shipped
from ldsmc_bench.toyfaces.assets import training_facts
from tests.commands import records, runs, tiny

CPU = torch.device("cpu")
KINDS = {"lattice": (0.2, 0.4), "scattered": (0.075, 0.14)}  # and bounds of the error: relative, and in one place


def errors(prior: LearnedPrior, level: int, number: int) -> tuple[float, float]:
    """The root mean square of the error of eps and of eps itself, at a training step, for noisy draws of a problem."""
    exact, generator = mixture(prior.kind, prior.dx, 0, 100, 0.1, None).to(CPU, torch.float32), torch.Generator()
    z_0 = law_of(prior.kind, prior.dx, 0, number).sample(2000, generator.manual_seed(level)).float()[..., None, None]
    a, t = float(exact.alpha_bar[level]), torch.full((2000,), level)
    z = a**0.5 * z_0 + (1 - a) ** 0.5 * torch.randn(z_0.shape, generator=generator)
    right, found = (one.conditioned([number] * 2000).eps(z, t) for one in (exact, prior))
    return float((found - right).square().mean().sqrt()), float(right.square().mean().sqrt())


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_is_near_the_exact_one(kind: str) -> None:
    """Relative to it over the levels of a chain, and at each of them in units of the noise."""
    prior = learned(kind, 8, 0, 100, 0.1, None).to(CPU, torch.float32)
    found = torch.tensor([errors(prior, level, number) for level in range(9, 1000, 90) for number in (0, 5)])
    error, size = found.square().mean(dim=0).sqrt()
    relative, largest = KINDS[kind]
    assert error / size < relative
    assert found[:, 0].max() < largest


def test_rows_take_the_network_of_their_problem() -> None:
    prior = learned("scattered", 8, 0, 20, 0.1, None).to(CPU, torch.float64)
    z, t = torch.randn(4, 8, 1, 1, generator=torch.Generator().manual_seed(0)).double(), torch.full((4,), 90)
    together = prior.conditioned([2, 2, 7, 7]).eps(z, t)
    apart = torch.cat([prior.conditioned([k] * 2).eps(z[rows], t[:2]) for k, rows in ((2, [0, 1]), (7, [2, 3]))])
    assert torch.allclose(together, apart)
    assert not torch.allclose(together[:2], prior.conditioned([7, 7]).eps(z[:2], t[:2]), atol=1e-2)
    with pytest.raises(UserError, match="prior=learned: has no network for problem-0008; n_images=8 is the most"):
        prior.conditioned([0, 8])


def test_training_repeats() -> None:
    first, again = (train("single", 2, 0, problems=1, steps=20) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["out.weight"].abs().max() > 0


def test_what_ships_is_small_and_names_its_training() -> None:
    for kind in KINDS:
        path = shipped("networks") / f"{kind}-dx8-seed0.safetensors"
        assert path.stat().st_size < 200_000
        assert training_facts(path)["command"] == f"python -m ldsmc_bench train-mixture kind={kind} dx=8 seed=0"
        assert len(learned(kind, 8, 0, 20, 0.1, None).layers["in.weight"]) == PROBLEMS


def test_mixtures_without_networks_name_the_command_that_trains_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="train them: python -m ldsmc_bench train-mixture kind=single dx=2 seed=0"):
        learned("single", 2, 0, 20, 0.1, None)
    monkeypatch.setattr(module, "train", lambda *asked: train(*asked, problems=2, steps=2))
    assert module.main(["kind=single", "dx=2"]) == 0
    assert learned("single", 2, 0, 20, 0.1, None).digest != mixture("single", 2, 0, 20, 0.1, None).digest


def test_a_run_through_networks_is_judged_by_the_mixtures_posterior(tmp_path: Path) -> None:
    done = tiny(tmp_path, "dataset=mixture", "prior=learned", "draws=60", "steps=4", "variant=exact")
    assert done.code == 0, done.err
    (run,) = runs(tmp_path)
    assert all({"sw1_ratio", "log_evidence_gap"} <= set(record["metrics"]) for record in records(run).values())

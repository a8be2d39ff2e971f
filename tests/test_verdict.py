"""The verdict on a sampler in words: on right and on wrong draws, and from the command line."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench.mixture.distances import Score, distances, yardstick
from ldsmc_bench.mixture.law import GaussianMixture
from ldsmc_bench.mixture.verdict import ASPECTS, findings, verdict
from tests.commands import command

NAMES = [aspect.by for aspect in ASPECTS]


@pytest.fixture(scope="module")
def law() -> GaussianMixture:
    means = 6 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return GaussianMixture(weights.log(), means, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))


def judged(law: GaussianMixture, draws: Tensor) -> dict[str, dict[str, Score]]:
    return {"only": distances(draws, yardstick(law, len(draws), NAMES, sets=4))}


def failing(problems: dict[str, dict[str, Score]]) -> set[str]:
    return {one.aspect.name for one in findings(problems) if one.failed}


def test_right_draws_are_called_right(law: GaussianMixture) -> None:
    found = judged(law, law.sample(200, torch.Generator().manual_seed(7)))
    assert failing(found) == set()
    lines = verdict(found, 200)
    assert lines[0] == "yes: 200 draws of each of 1 problems cannot be told from exact ones by more than matters"
    assert len(lines) == 1 + len(ASPECTS)


def test_what_is_wrong_is_named(law: GaussianMixture) -> None:
    draws, means = law.sample(200, torch.Generator().manual_seed(7)), law.means
    own = means[law.responsibilities(draws).argmax(dim=1)]
    wide = judged(law, own + 1.6 * (draws - own))
    assert {"spread", "tails"} <= failing(wide) and not {"mode weights", "bias"} & failing(wide)
    assert any("too far from its modes" in line for line in verdict(wide, 200))
    one_mode = law.sample(900, torch.Generator().manual_seed(8))
    one_mode = one_mode[law.responsibilities(one_mode).argmax(dim=1) != 1][:200]
    assert {"mode weights", "bias"} <= failing(judged(law, one_mode))
    assert verdict(judged(law, one_mode), 200)[0].startswith("no: wrong on 1 of 1 problems, in ")


def test_chance_alone_and_what_does_not_matter_fail_nothing() -> None:
    perfect = {name: Score(one.perfect or 0.1, one.perfect or 0.1, 0.01) for one in ASPECTS for name in [one.by]}
    assert failing({"a": perfect}) == set()
    assert failing({"a": perfect | {"mode_tv": Score(0.3, 0.1, 0.1)}}) == set()  # two standard deviations
    assert failing({"a": perfect | {"mode_tv": Score(0.14, 0.1, 0.001)}}) == set()  # far beyond chance, and small
    assert failing({"a": perfect | {"mode_tv": Score(0.3, 0.1, 0.001)}}) == {"mode weights"}


def test_a_sampler_is_judged_in_words_on_the_panel(tmp_path: Path) -> None:
    """The second time nothing is drawn or judged again."""
    small = ("exactness", "method=dps", "steps=3", "n_images=1", "draws=50", "dataset.kind=scattered", "device=cpu")
    done = [command(tmp_path, *small, "task.operator.dy=4") for _ in range(2)]
    assert [one.code for one in done] == [0, 0], done[0].err
    assert "DPS, steps=3: no: wrong on 1 of 1 problems" in done[0].out
    assert "3 denoiser calls, 3 backward passes" in done[0].out
    assert done[0].out.partition("DPS, steps=3")[2] == done[1].out.partition("DPS, steps=3")[2]

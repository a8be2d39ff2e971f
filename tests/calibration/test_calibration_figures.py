from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ldsmc_bench.calibration import figures
from ldsmc_bench.calibration.draws import draw_metrics, pool
from ldsmc_bench.calibration.reliability import Readings, reliability
from ldsmc_bench.calibration.sbc import uniformity


def of_ranks(rng: np.random.Generator) -> Any:
    shape, hidden = (5, 3, 4, 4), torch.ones(3, 4, 4, dtype=torch.bool)
    drawn = [torch.from_numpy(rng.integers(0, 256, size=shape, dtype=np.uint8)) for _ in range(3)]
    return pool([draw_metrics(one[1:], one[0], hidden, rng) for one in drawn])


def of_attributes(rng: np.random.Generator) -> Any:
    return reliability([Readings(rng.integers(2, size=(9, 4)), rng.integers(2, size=9), np.eye(2))])


def of_scalars(rng: np.random.Generator) -> Any:
    return {"red": uniformity(np.linspace(0.01, 0.99, 40)), "green": uniformity(rng.random(40) ** 3)}


@pytest.mark.parametrize(
    ("draw", "scores", "note"),
    [
        (figures.rank_histograms, of_ranks, "spread/skill"),
        (figures.coverage_curves, lambda rng: uniformity(rng.random(40)), "n = 40"),
        (figures.rank_differences, of_scalars, "1 of 2 leave the band"),
        (figures.reliability_curves, of_attributes, "floor"),
    ],
)
@pytest.mark.parametrize("count", [1, 5])
def test_a_panel_a_method_with_its_numbers_and_axes(
    draw: Callable[..., Figure], scores: Callable[[np.random.Generator], Any], note: str, count: int
) -> None:
    rng = np.random.default_rng(0)
    names = [f"method {number}" for number in range(count)]
    figure = draw({name: scores(rng) for name in names})
    figure.draw_without_rendering()
    assert [panel.get_title() for panel in figure.axes] == names
    for panel in figure.axes:
        assert note in panel.texts[0].get_text()
    assert figure.axes[0].get_ylabel() and figure.axes[-1].get_xlabel()
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(set(labels)) == len(labels) >= 3


def test_no_panel_is_cut_by_the_one_before_it() -> None:
    rng = np.random.default_rng(0)
    flat, shape, hidden = of_ranks(rng), (5, 3, 4, 4), torch.ones(3, 4, 4, dtype=torch.bool)
    below = [draw_metrics(torch.full(shape, 9).byte(), torch.zeros(shape[1:]).byte(), hidden, rng)]
    figure = figures.rank_histograms({"flat": flat, "below": pool(below * 2)})
    assert figure.axes[0].get_ylim()[1] >= 6  # all truths have rank 0 of 5 draws

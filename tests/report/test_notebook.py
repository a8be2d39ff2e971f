"""results/analysis.ipynb runs from its first cell to its last, on a store, and draws what the store has."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.report.stored import stored

NOTEBOOK = Path(__file__).parents[2] / "results" / "analysis.ipynb"
IDS = [f"test-{i:06d}" for i in range(6)]


@pytest.fixture(autouse=True)
def without_a_screen() -> Iterator[None]:
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)


def run_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Figure]]:
    """Run all cells in a results folder; returns the names that they define, and the figures."""
    monkeypatch.chdir(folder)
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert notebook["nbformat"] == 4 and not any(cell.get("outputs") for cell in notebook["cells"])
    space: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)
    return space, [plt.figure(number) for number in plt.get_fignums()]


def test_the_notebook_draws_the_means_of_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {n: stored(tmp_path, "ldsmc", "box", IDS, particles=n) for n in (1, 5, 10)}
    stored(tmp_path, "dps", "box", IDS, lost={IDS[0]: "not finite"})
    stored(tmp_path, "pfld", "box", IDS, particles=20)
    space, [curve, pictures] = run_notebook(tmp_path, monkeypatch)
    line = next(one for one in curve.axes[0].containers if str(one.get_label()).startswith("LD-SMC")).lines[0]
    records = [
        [json.loads(p.read_text())["metrics"]["psnr"] for p in (f / "records").iterdir()] for f in folders.values()
    ]
    assert line.get_xdata().tolist() == [1, 5, 10]
    assert line.get_ydata().astype(float) == pytest.approx(np.mean(records, axis=1))
    [legend] = curve.legends
    assert {text.get_text().split()[0] for text in legend.get_texts()} == {"LD-SMC", "DPS", "PFLD"}  # as in tables
    curve.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(curve.axes[0].get_tightbbox())
    assert curve.axes[0].get_title() == "box inpainting"
    ticks = curve.axes[0].xaxis
    assert [tick.get_text() for tick in ticks.get_ticklabels()] == ["1", "5", "10", "20"]
    assert not len(ticks.get_minorticklocs())
    titles = ["LD-SMC, particles=1", "LD-SMC, particles=10"]  # of one method
    assert [panel.get_title() for panel in pictures.axes] == titles
    assert [len(panel.get_images()) for panel in pictures.axes] == [1, 1]
    assert (tmp_path / "figures_psnr.pdf").exists() and space["means"]["count"].sum() == 29


def test_without_a_method_of_two_numbers_of_particles_it_compares_two_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, "dps", "box", IDS)
    stored(tmp_path, "ldsmc", "box", IDS, particles=5)
    _, [_, pictures] = run_notebook(tmp_path, monkeypatch)
    assert [panel.get_title() for panel in pictures.axes] == ["DPS, particles=1", "LD-SMC, particles=5"]

"""results/analysis.ipynb runs from its first cell to its last, on a store, and draws what the store has."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.report.stored import stored

NOTEBOOK = Path(__file__).parents[2] / "results" / "analysis.ipynb"
IDS = [f"test-{i:06d}" for i in range(6)]


def test_the_notebook_draws_the_means_of_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {n: stored(tmp_path, "ldsmc", "box", IDS, particles=n) for n in (1, 5, 10)}
    stored(tmp_path, "dps", "box", IDS, lost={IDS[0]: "not finite"})
    stored(tmp_path, "pfld", "box", IDS, particles=20)
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert notebook["nbformat"] == 4 and not any(cell.get("outputs") for cell in notebook["cells"])
    space: dict[str, Any] = {}
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), space)
        curve, pictures = (plt.figure(number) for number in plt.get_fignums())
        line = next(one for one in curve.axes[0].containers if str(one.get_label()).startswith("ldsmc")).lines[0]
        records = [
            [json.loads(p.read_text())["metrics"]["psnr"] for p in (f / "records").iterdir()] for f in folders.values()
        ]
        assert line.get_xdata().tolist() == [1, 5, 10]
        assert line.get_ydata().astype(float) == pytest.approx(np.mean(records, axis=1))
        ticks = curve.axes[0].xaxis
        assert [tick.get_text() for tick in ticks.get_ticklabels()] == ["1", "5", "10", "20"]
        assert not len(ticks.get_minorticklocs())
        titles = ["ldsmc, 1 particles", "ldsmc, 10 particles"]  # of one method
        assert [panel.get_title() for panel in pictures.axes] == titles
        assert [len(panel.get_images()) for panel in pictures.axes] == [1, 1]
    finally:
        plt.close("all")
        matplotlib.use(backend)
    assert (tmp_path / "figures_psnr.pdf").exists() and space["means"]["count"].sum() == 29

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import stats

from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import __main__ as figures
from ldsmc_bench.report.figures.__main__ import main
from ldsmc_bench.report.figures.kinds import draw_ess, draw_fronts, draw_sweep, front
from ldsmc_bench.report.figures.plot import COLOURS, TaskRuns, figure_text, style
from ldsmc_bench.report.select import curves, join_label, label_runs
from ldsmc_bench.report.statistics import add_costs
from tests.report.stored import stored

IDS = [f"test-{i:06d}" for i in range(6)]


def problem(results: Path, task: str = "box") -> TaskRuns:
    runs, images = frame.runs(results), frame.images(add_costs(frame.rows(results)))
    return TaskRuns(task, "toyfaces", runs[runs["task"] == task], images, results)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for particles in (1, 5, 10):
        for steps in (20, 50):
            stored(tmp_path, "ldsmc", "box", IDS, particles=particles, steps=steps, pictures=False)
    stored(tmp_path, "dps", "box", IDS, pictures=False)
    return tmp_path


def test_a_curve_joins_runs_that_differ_in_one_thing_alone(results: Path) -> None:
    stored(results, "ldsmc", "box", IDS, particles=5, steps=20, seed=1, pictures=False)
    found = list(curves(frame.runs(results), "particles"))
    assert sorted(label for label, _ in found) == ["steps=20", "steps=50"]
    shape = {label: list(zip(runs["particles"], runs["seed"], strict=True)) for label, runs in found}
    assert shape == {"steps=20": [(1, 0), (5, 0), (5, 1), (10, 0)], "steps=50": [(1, 0), (5, 0), (10, 0)]}
    assert list(curves(frame.runs(results), "sample.s")) == []
    assert list(curves(frame.runs(results).assign(**{"sample.s": None}), "sample.s")) == []


def test_names_tell_runs_of_a_method_apart_and_say_no_more(results: Path) -> None:
    stored(results, "ldsmc", "box", IDS, particles=5, steps=20, eta=0.5, pictures=False)
    runs = frame.runs(results)
    found = [join_label(method, said) for method, said in zip(runs["method"], label_runs(runs), strict=True)]
    assert len(set(found)) == len(runs) and "dps" in found
    assert "ldsmc N=5 steps=20 eta=0.5" in found


def test_points_are_means_with_student_intervals_over_the_images_that_all_have(results: Path) -> None:
    few = stored(results, "psld", "box", IDS[:4], steps=20, pictures=False)
    stored(results, "psld", "box", IDS, steps=50, pictures=False)
    figure = draw_sweep(problem(results), "steps")
    assert figure is not None
    panel = figure.axes[0]
    assert panel.get_ylabel().startswith("PSNR")
    values = frame.rows(results, [few.name])["psnr"]
    [bar] = [container for container in panel.containers if container.get_label() == "PSLD"]
    line, _, [whiskers] = bar.lines
    assert line.get_xdata().tolist() == [20, 50]
    assert line.get_ydata()[0] == pytest.approx(values.mean())
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert whiskers.get_segments()[0][:, 1].tolist() == pytest.approx([low, high])
    other = frame.rows(results)
    other = other[other["run_id"].str.startswith("psld") & other["image_id"].isin(IDS[:4])]
    assert line.get_ydata()[1] == pytest.approx(other[other["run_id"] != few.name]["psnr"].mean())


def test_passes_count_a_backward_one_twice_and_know_when_nothing_was_counted() -> None:
    rows = pd.DataFrame(
        {
            "cost.denoiser_forward": [10.0, np.nan],
            "cost.denoiser_backward": [4.0, np.nan],
            "cost.decoder_forward": [3.0, np.nan],
            "cost.seconds": [99.0, 1.0],
        }
    )
    assert add_costs(rows)["passes"][0] == 21 and np.isnan(add_costs(rows)["passes"][1])
    assert add_costs(rows)["seconds"].tolist() == [99.0, 1.0]


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_dominates(seed: int) -> None:
    number = np.random.default_rng(seed)
    points = list(dict.fromkeys(zip(*number.integers(0, 6, (2, 15)).tolist(), strict=True)))
    costs, merits = zip(*points, strict=True)

    def dominated(i: int) -> bool:
        return any(c <= costs[i] and m >= merits[i] and (c, m) != points[i] for c, m in points)

    on_front = front(costs, merits)
    assert sorted(on_front) == [i for i in range(len(points)) if not dominated(i)]
    assert [costs[i] for i in on_front] == sorted(costs[i] for i in on_front)


def test_full_marks_are_on_the_front(results: Path) -> None:
    figure = draw_fronts(problem(results), "passes")
    assert figure is not None
    marks = [bar.lines[0] for bar in figure.axes[0].containers]
    places = [(float(mark.get_xdata()[0]), float(mark.get_ydata()[0])) for mark in marks]
    costs, merits = zip(*places, strict=True)
    full = [i for i, mark in enumerate(marks) if mark.get_fillstyle() == "full"]
    assert sorted(front(costs, merits)) == full and 0 < len(full) < len(marks) == 7


def test_effective_sample_sizes_are_shares_of_the_particles(results: Path) -> None:
    figure = draw_ess(problem(results))
    assert figure is not None
    assert [panel.get_ylabel() for panel in figure.axes] == ["ESS / N", "share resampled"]
    lines = figure.axes[0].get_lines()
    assert len(lines) == 4 and sorted({len(line.get_xdata()) for line in lines}) == [20, 50]
    values = np.concatenate([line.get_ydata() for line in lines])
    assert values.min() > 0 and values.max() <= 1


def test_the_command_makes_what_varies_and_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for particles in (1, 5):
        stored(tmp_path, "ldsmc", "box", IDS[:3], particles=particles, pictures=False)
    sheet = tmp_path / "figures" / "box-toyfaces-abc.png"
    sheet.parent.mkdir()
    sheet.write_bytes(b"a sheet of a sweep")
    assert main(["--results-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("left out")] == [
        f"left out: metrics against {what}: no two runs differ in that alone" for what in ("steps", "s", "Gibbs sweeps")
    ]
    made = [Path(line.removeprefix("figure: ")) for line in said if line.startswith("figure: ")]
    assert [path.name for path in made] == [
        f"box-toyfaces-{end}.png" for end in ("particles", "passes", "seconds", "ess")
    ]
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in made)
    with Image.open(made[0]) as picture:
        assert picture.width > 900
    before = {path: path.read_bytes() for path in sheet.parent.iterdir()}
    monkeypatch.setattr(figures, "KINDS", figures.KINDS[:1])
    made[0].unlink()
    assert main(["--results-dir", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in sheet.parent.iterdir()} == before and sheet in before


def test_an_empty_store_has_no_figures_and_an_absent_one_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    assert list(figures.figures(tmp_path)) == [f"left out: {kind.content}: {kind.why_none}" for kind in figures.KINDS]
    assert main(["--results-dir", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_names_that_the_font_lacks_stay_apart_and_none_is_a_formula() -> None:
    names = ["β-VAE", "方法", "方案", "a$b$_{", "_mine"]
    assert [figure_text(name) for name in names] == [
        "β-VAE", "[U+65B9][U+6CD5]", "[U+65B9][U+6848]", r"a\$b\$_{", " _mine",
    ]  # fmt: skip


def test_styles_differ_in_more_than_colour_and_are_seen_on_white() -> None:
    looks = [style(i) for i in range(8)]
    for part in ("colour", "dash", "marker"):
        assert len({look[part] for look in looks}) == 8  # type: ignore[literal-required]
    assert len({tuple(style(i).values()) for i in range(16)}) == 16

    def luminance(colour: str) -> float:  # relative luminance of WCAG 2
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    assert all(1.05 / (luminance(colour) + 0.05) > 2 for colour in COLOURS)  # contrast

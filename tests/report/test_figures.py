import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import __main__ as figures
from ldsmc_bench.report.figures.__main__ import main
from ldsmc_bench.report.figures.kinds import (
    best_of,
    cost_lines,
    difficulty_lines,
    draw_lines,
    ess_lines,
    front,
    sweep_lines,
)
from ldsmc_bench.report.figures.plot import COLOURS, TaskRuns, figure_text, line_styles, look, method_styles, style
from ldsmc_bench.report.select import NAMES, curves, join_label, label_runs
from ldsmc_bench.report.statistics import add_costs
from ldsmc_bench.report.tables.layout import Metric
from tests.report.made import made, psnr
from tests.report.stored import stored

PSNR = Metric.model_validate("psnr")
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


def test_points_are_those_of_tables_over_the_images_that_all_have(results: Path) -> None:
    few = stored(results, "psld", "box", IDS[:4], steps=20, pictures=False)
    stored(results, "psld", "box", IDS, steps=50, pictures=False)
    [line] = [line for line in sweep_lines(problem(results), PSNR, "steps") if line.method == "psld"]
    values = frame.rows(results, [few.name])["psnr"]
    first, second = line.points
    assert (first.x, second.x) == (20, 50)
    assert (first.estimate.value, first.estimate.se) == pytest.approx((values.mean(), values.sem()))
    other = frame.rows(results)
    other = other[other["run_id"].str.startswith("psld") & other["image_id"].isin(IDS[:4])]
    assert second.estimate.value == pytest.approx(other[other["run_id"] != few.name]["psnr"].mean())


def test_seeds_are_one_point_everywhere(results: Path) -> None:
    for particles in (5, 10):
        stored(results, "ldsmc", "box", IDS, particles=particles, steps=20, seed=1, pictures=False)
    of_task = problem(results)
    runs = of_task.runs
    two = runs[(runs["particles"] == 5) & (runs["steps"] == 20)]["run_id"]
    value = np.mean([of_task.images[run_id]["psnr"] for run_id in two])
    swept = [line for line in sweep_lines(of_task, PSNR, "particles") if line.settings == "steps=20"]
    at_cost = [line for line in cost_lines(of_task, PSNR, "passes") if line.method == "ldsmc"]
    points = [swept[0].points[1], next(point for point in at_cost[0].points if point.text == "N=5, 20")]
    assert [(point.estimate.value, point.estimate.seeds) for point in points] == [(pytest.approx(value), 2)] * 2
    assert len(at_cost[0].points) == 6
    thirds = [line for line in difficulty_lines(of_task, PSNR) if line.settings == "N=5 steps=20"]
    assert [point.estimate.seeds for point in thirds[0].points] == [2] * 3
    assert len([line for line in ess_lines(of_task) if "steps=20" in line.settings]) == 2


def test_the_hard_third_is_that_which_all_restore_worst(tmp_path: Path) -> None:
    for method, shift in ("dps", 0.0), ("psld", 1.0):
        made(tmp_path, method, "box", psnr([value + shift for value in (20, 31, 25, 30, 21, 26)]))
    lines = difficulty_lines(problem(tmp_path), PSNR)
    found = {line.method: [point.estimate.value for point in line.points] for line in lines}
    assert found == {"dps": [30.5, 25.5, 20.5], "psld": [31.5, 26.5, 21.5]}


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_best_of_k_draws_is_the_mean_over_all_choices(better: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    best = np.max if better == "higher" else np.min
    for k in range(1, 6):
        choices = [best(values[:, list(chosen)], axis=1) for chosen in itertools.combinations(range(5), k)]
        assert best_of(values, k, better) == pytest.approx(np.mean(choices, axis=0))


def test_draws_of_a_run_are_its_axis(tmp_path: Path) -> None:
    run = tmp_path / "runs" / made(tmp_path, "dps", "box", psnr([20.0, 30.0]))
    shutil.copytree(run / "records", run / "draws" / "1" / "records")
    for path, value in zip(sorted((run / "draws" / "1" / "records").iterdir()), (24.0, 28.0), strict=True):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"draw": 1, "metrics": {"psnr": value}}))
    request = json.loads((run / "requested.json").read_text())
    (run / "requested.json").write_text(json.dumps(request | {"images": [2, 2]}))
    [line] = draw_lines(problem(tmp_path), PSNR)
    assert [(point.x, point.estimate.value) for point in line.points] == [(1, 25.5), (2, 27.0)]
    [kind] = [kind for kind in figures.KINDS if kind.key == "draws"]
    assert "an oracle" in " ".join(figures.words(kind, [figures.Panel(problem(tmp_path), PSNR, [line])]))


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


def drawn(results: Path, key: str, wish: figures.Wish = figures.ALL) -> Figure:
    """The figure of a kind."""
    [kind] = [kind for kind in figures.KINDS if kind.key == key]
    return figures.make(kind, list(figures.fill(kind, problem(results), wish)), wish)


def test_full_marks_are_on_the_front(results: Path) -> None:
    marks = [bar.lines[0] for bar in drawn(results, "passes").axes[0].containers]
    places = [(float(mark.get_xdata()[0]), float(mark.get_ydata()[0])) for mark in marks]
    costs, merits = zip(*places, strict=True)
    full = [i for i, mark in enumerate(marks) if mark.get_fillstyle() == "full"]
    assert sorted(front(costs, merits)) == full and 0 < len(full) < len(marks) == 7


def test_effective_sample_sizes_are_shares_against_the_fraction_of_the_chain(results: Path) -> None:
    [panel] = drawn(results, "ess").axes
    assert panel.get_ylabel() == "ESS / N" and panel.get_xlabel() == "fraction of the chain"
    lines = panel.get_lines()
    assert sorted(str(line.get_label()) for line in lines) == [
        "LD-SMC N=10 steps=20", "LD-SMC N=10 steps=50", "LD-SMC N=5 steps=20", "LD-SMC N=5 steps=50",
    ]  # fmt: skip
    assert {tuple(line.get_xdata()[[0, -1]]) for line in lines} == {(0, 1)}
    values = np.concatenate([line.get_ydata() for line in lines])
    assert values.min() > 0 and values.max() <= 1


def test_a_figure_for_a_paper_has_its_width_type_and_caption(results: Path, tmp_path: Path) -> None:
    options = "metric=toyfaces_fid against=particles style=icml font=7 format=svg,pdf ours=ldsmc where=steps=20"
    assert main([f"results_dir={results}", f"out={tmp_path / 'paper'}", *options.split()]) == 0
    names = sorted(path.name for path in (tmp_path / "paper").iterdir())
    assert names == [f"box-toyfaces-toyfaces_fid-particles{end}" for end in (".pdf", ".svg", "_caption.tex")]
    svg = (tmp_path / "paper" / names[1]).read_text()
    assert re.search(r'width="([\d.]+)pt"', svg)[1] == "234"  # type: ignore[index] # 3.25 in
    caption = (tmp_path / "paper" / names[2]).read_text()
    assert (
        caption.startswith("% by python -m ldsmc_bench figures results_dir=") and "\\caption{FID{*} against" in caption
    )
    assert "Bars: mean $\\pm$ one standard error over images (FID{*}: bootstrap over images)" in caption
    assert "20 steps, seed 0" in caption and "not Inception-FID" in caption
    wish = figures.Wish(looks=figures.Looks(3.25, 7.0), layout=figures.options_of(ours="ldsmc"))
    with rc_context(look(7, paper=True)):
        figure = drawn(results, "particles", wish)
    assert figure.get_figwidth() == 3.25 and figure._suptitle is None


def test_panels_are_metrics_or_tasks_or_one_each(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for particles in (1, 5):
        stored(results, "ldsmc", "denoise", IDS, particles=particles, pictures=False)
    found = {}
    for panels in ("metric", "task", "one"):
        given = f"metric=psnr,ssim against=particles where=steps=20 format=png panels={panels} out={results / panels}"
        assert main([f"results_dir={results}", *given.split()]) == 0
        found[panels] = {path.name for path in (results / panels).glob("*.png")}
    pairs = itertools.product(("box", "denoise"), ("psnr", "ssim"))
    assert found == {
        "metric": {f"{task}-toyfaces-psnr_ssim-particles.png" for task in ("box", "denoise")},
        "task": {"toyfaces-psnr-particles.png", "toyfaces-ssim-particles.png"},
        "one": {f"{task}-toyfaces-{metric}-particles.png" for task, metric in pairs},
    }


def test_figures_of_one_command_never_share_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("方法", "方案"):
        for particles in (1, 5):
            made(tmp_path, "ldsmc", task, psnr([20.0, 21.0]), particles=particles)
    axes = "against=particles,sample.particles,particles"
    assert main([f"results_dir={tmp_path}", axes, "metric=psnr,psnr", "format=svg"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list((tmp_path / "figures").glob("*.svg"))) == 4


def test_a_figure_in_place_of_another_commands_says_so(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wishes = ["metric=psnr where=steps=20", *["metric=psnr where=steps=50"] * 2, "metric=ssim where=steps=50"]
    for wish in wishes:
        assert main([f"results_dir={results}", "against=particles", "format=svg", *wish.split()]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("figure: ")]
    by = f"by python -m ldsmc_bench figures results_dir={results} against=particles format=svg {wishes[0]}"
    assert lines == [f"replaced: the one {by}; out=FOLDER keeps both"]


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("metric=pnsr", "metric=pnsr: no such metric; did you mean psnr?"),
        ("against=step", "against=step: no such axis; did you mean steps?, or sample.<argument>"),
        ("format=gif", "format=gif: must be pdf, png or svg, or several of them"),
        ("width=80", "width=80: must be from 1 to 20"),
        ("ours=ldmsc", "ours=ldmsc: no run of this method; did you mean ldsmc?"),
        ("where=stesp=3", "where.stesp: runs have no stesp; did you mean steps?, or sample.<argument>"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(
    results: Path, option: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"results_dir={results}", option]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


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
    assert [line.split(":")[1] for line in said if line.startswith("left out")] == [
        *(f" metrics against {what}" for what in ("steps", "s", "Gibbs sweeps")),
        " metrics of the best of k draws", " metrics against difficulty",
    ]  # fmt: skip
    made = [Path(line.removeprefix("figure: ")) for line in said if line.startswith("figure: ")]
    assert [path.name for path in made] == [
        f"box-toyfaces-{end}.png" for end in ("particles", "denoiser", "passes", "seconds", "ess")
    ]
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in made)
    with Image.open(made[0]) as picture:
        assert picture.width > 900
    before = {path: path.read_bytes() for path in sheet.parent.iterdir()}
    monkeypatch.setattr(figures, "KINDS", figures.KINDS[:1])
    made[0].unlink()
    assert main(["--results-dir", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in sheet.parent.iterdir()} == before and sheet in before


def test_an_axis_without_runs_is_left_out_with_where_as_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for particles in (1, 5):
        stored(tmp_path, "ldsmc", "box", IDS[:2], particles=particles, pictures=False)
    given = [f"results_dir={tmp_path}", "against=steps,particles", "metric=psnr"]
    assert main([*given, "where=task=box"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "left out: metrics against steps: no two runs differ in that alone"
    assert second.startswith("figure: ")
    assert main([*given, "where=task=denoise"]) == 2
    assert "where=task=denoise: no run has this; there are: box" in capsys.readouterr().err


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
    shown = ["ldsmc", "dps_weighted", "mmps", "pigdm", "mine"]  # of which two would share a colour by their numbers
    assert len({one["colour"] for one in method_styles(shown).values()}) == 5
    assert method_styles(["pigdm"])["pigdm"]["colour"] != method_styles(["ldsmc"])["ldsmc"]["colour"]
    assert method_styles(["psld"])["psld"] == method_styles(["psld", "ldsmc"])["psld"]

    lines = line_styles(["ldsmc", "ldsmc", "dps", "LD-SMC", "DPS"])  # as with several particles
    own = method_styles(NAMES["method"])
    assert [one["colour"] for one in lines] == [
        own[name]["colour"] for name in ("ldsmc", "ldsmc", "dps", "ldsmc", "dps")
    ]
    assert lines[0] == own["ldsmc"] and len({str(one) for one in lines}) == 5

    def luminance(colour: str) -> float:  # relative luminance of WCAG 2
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    assert all(1.05 / (luminance(colour) + 0.05) > 2 for colour in COLOURS)  # contrast

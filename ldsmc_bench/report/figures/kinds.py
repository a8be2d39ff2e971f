"""The kinds of figures of one task and data set: a sweep, quality against cost, and effective sample sizes."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import plot
from ldsmc_bench.report.figures.plot import TaskRuns
from ldsmc_bench.report.select import curves, display_name, join_label, label_runs
from ldsmc_bench.report.statistics import interval
from ldsmc_bench.scoring.protocols import Protocol

AXES = {"particles": "particles $N$", "steps": "steps", "sample.s": "$s$", "sample.gibbs_iterations": "Gibbs sweeps"}
COSTS = {
    "passes": "network passes per image:\nforward + 2 backward of denoiser,\ndecoder and encoder, each as one",
    "seconds": "seconds per image,\non the machine that ran it",
}
FEW = 7  # places of an axis that are all marked
FILLS: Any = ("full", "none", "left", "top", "bottom", "right")  # of the markers, for several lines of one method
MOST, BANDS = 8, 3  # runs in a figure of ESS, and how many of them may have bands
ENDS = ["mean", "low", "high"]


def draw_sweep(of_task: TaskRuns, axis: str) -> Figure | None:
    """Every metric against `axis`, a line for each method; None where no two runs differ in `axis` alone.

    A curve is over the images that all its runs have, each the mean over its seeds; bars are 95 % intervals over images
    (and seeds, where there are several).
    """
    lines = list(curves(of_task.runs, axis))
    points = {metric: [_sweep_points(of_task, runs, axis, metric) for _, runs in lines] for metric in of_task.metrics}
    points = {metric: of_lines for metric, of_lines in points.items() if max(map(len, of_lines), default=0) > 1}
    if not points:
        return None
    figure, panels = plot.metric_panels(points, of_task.title)
    styles, seen = plot.method_styles(of_task.runs["method"]), Counter[str]()
    for number, (label, runs) in enumerate(lines):
        method = str(runs["method"].iloc[0])
        marks = {
            "dashes": styles[method]["dash"] or (None, None),
            "fillstyle": FILLS[seen[method] % len(FILLS)],
            "label": plot.figure_text(f"{display_name('method', method)} {label}".strip()),
            "capsize": 2,
        }
        seen[method] += 1
        for panel, of_lines in zip(panels, points.values(), strict=True):
            plot.draw_points(panel, of_lines[number], styles[method], **marks)
    for panel, of_lines in zip(panels, points.values(), strict=True):
        _mark_places(panel, sorted({x for line in of_lines for x in line.index}))
        panel.set_xlabel(AXES[axis])
    plot.add_legend(figure)
    return figure


def _sweep_points(of_task: TaskRuns, runs: pd.DataFrame, axis: str, metric: Protocol) -> pd.DataFrame:
    places = {x: interval(metric.name, of_place, of_task.images, among=runs) for x, of_place in runs.groupby(axis)}
    return pd.DataFrame.from_dict(places, orient="index", columns=ENDS).dropna(subset="mean").sort_index()


def _mark_places(panel: Axes, places: list[float]) -> None:
    """A logarithmic axis where it spans much; few places are all marked, as themselves."""
    if places[0] > 0 and places[-1] / places[0] > 4:
        panel.set_xscale("log")
    if len(places) <= FEW:
        panel.xaxis.set_major_locator(FixedLocator(places))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([f"{place:g}" for place in places])


def draw_fronts(of_task: TaskRuns, cost: str) -> Figure | None:
    """Every run a point, against `passes` or `seconds`, and the Pareto front; None where no two runs differ in it.

    Each run is over its own images, with 95 % intervals over them. Full marks are on the Pareto front: no other run is
    both as cheap and better.
    """
    costs = pd.Series({run_id: images[cost].mean() for run_id, images in of_task.images.items()}, dtype=float).round(6)
    points = {metric: _front_points(of_task, costs[costs > 0], metric) for metric in of_task.metrics}
    points = {metric: of_runs for metric, of_runs in points.items() if of_runs.index.nunique() > 1}
    if not points:
        return None
    figure, panels = plot.metric_panels(points, of_task.title)
    styles = plot.method_styles(of_task.runs["method"])
    for (metric, of_runs), panel in zip(points.items(), panels, strict=True):
        merits = {"higher": of_runs["mean"], "lower": -of_runs["mean"], "one": -(of_runs["mean"] - 1).abs()}
        best = front(of_runs.index.tolist(), merits[metric.better].tolist())
        on_front = of_runs.iloc[best]
        label = "Pareto front: full marks"
        panel.step(on_front.index, on_front["mean"], where="post", color="0.65", zorder=1, label=label)
        for i, method in enumerate(of_runs["method"]):
            marks = {"fillstyle": "full" if i in best else "none", "linestyle": "", "elinewidth": 0.7}
            name = plot.figure_text(display_name("method", method))
            plot.draw_points(panel, of_runs.iloc[[i]], styles[method], label=name, **marks)
        panel.set_xscale("log")
        decades = math.log10(of_runs.index.max() / of_runs.index.min())
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1,)))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())  # its own labels would overlap
        panel.set_xlabel(COSTS[cost], fontsize=7)
    plot.add_legend(figure)
    return figure


def _front_points(of_task: TaskRuns, costs: pd.Series, metric: Protocol) -> pd.DataFrame:
    """A line a run, by its cost: `method mean low high`."""
    runs = of_task.runs[of_task.runs["run_id"].isin(costs.index)]
    ends = [interval(metric.name, runs.iloc[[i]], of_task.images) for i in range(len(runs))]
    points = pd.DataFrame(ends, columns=ENDS, index=costs[runs["run_id"]].to_numpy())
    return points.assign(method=runs["method"].tolist()).dropna(subset="mean")


def front(costs: Sequence[float], merits: Sequence[float]) -> list[int]:
    """The points than which no other is both as cheap and better, by rising cost; of equal points the first."""
    best, on_front = float("-inf"), []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -merits[i])):
        if merits[i] > best:
            best = merits[i]
            on_front.append(i)
    return on_front


def draw_ess(of_task: TaskRuns) -> Figure | None:
    """Effective sample sizes over the steps; None where no run of several particles has them.

    Above the mean over images of ESS/N (the band: 5 % to 95 % of the images), below the share of them resampled, at
    each step in the order in which the sampler took them. Past eight runs, the first eight by method, steps and N.
    """
    several = of_task.runs[of_task.runs["particles"] > 1].sort_values(["method", "steps", "particles", "run_id"])
    lines = [(run, frame.diagnostics(of_task.results_dir, run["run_id"])) for _, run in several.head(MOST).iterrows()]
    lines = [(run, of_run) for run, of_run in lines if (of_run["name"] == "ess").any()]
    if not lines:
        return None
    resampled = any((of_run["name"] == "resampled").any() for _, of_run in lines)
    figure, axes = plot.panels(["ESS / N", *(["share resampled"] if resampled else [])], of_task.title)
    labels = label_runs(pd.DataFrame([run for run, _ in lines]))
    for i, ((run, of_run), settings) in enumerate(zip(lines, labels, strict=True)):
        look = plot.style(i)
        label = plot.figure_text(join_label(display_name("method", run["method"]), settings))
        for panel, name, scale in zip(axes, ("ess", "resampled"), (run["particles"], 1), strict=False):
            steps = of_run[of_run["name"] == name]
            dashes = look["dash"] or (None, None)
            panel.plot(steps["step"], steps["mean"] / scale, color=look["colour"], dashes=dashes, label=label)
            if name == "ess" and len(lines) <= BANDS:
                low, high = steps["q05"] / scale, steps["q95"] / scale
                panel.fill_between(steps["step"], low, high, color=look["colour"], alpha=0.15, linewidth=0)
    for panel in axes:
        panel.set(ylim=(-0.03, 1.03), xlabel="step")
    if len(several) > MOST:
        axes[0].set_title(f"the first {MOST} of {len(several)} runs", fontsize=7, loc="right")
    plot.add_legend(figure)
    return figure


class Kind(NamedTuple):
    """A kind of figure: the end of its files' names, its content, the reason why there may be none, its function."""

    end: str
    content: str
    why_none: str
    draw: Callable[[TaskRuns], Figure | None]


KINDS = []
for _axis, _label in AXES.items():
    _content, _why = f"metrics against {_label.replace('$', '')}", "no two runs differ in that alone"
    KINDS.append(Kind(_axis.removeprefix("sample."), _content, _why, partial(draw_sweep, axis=_axis)))
for _cost in COSTS:
    _why = "no two runs of a task differ in them"
    KINDS.append(Kind(_cost, f"metrics against {_cost}", _why, partial(draw_fronts, cost=_cost)))
KINDS.append(Kind("ess", "effective sample sizes", "no run with several particles has them", draw_ess))

"""The figure of a sweep: every metric against particles, steps or another argument, a line for each method."""

import math
from collections import Counter
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from scipy import stats

from ldsmc_bench.report.figures_data import AXES, Problem, curves, metrics_of, of_set
from ldsmc_bench.report.figures_style import FILLS, Style, grid, legend, styles
from ldsmc_bench.report.names import called
from ldsmc_bench.report.statistics import mean
from ldsmc_bench.scoring.protocols import Protocol

FEW = 7  # places of an axis that are all marked


class Line(NamedTuple):
    """What is drawn alike in every panel; `fill` is that of the markers."""

    label: str
    look: Style
    fill: Any
    runs: pd.DataFrame


def draw(problem: Problem, axis: str) -> Figure | None:
    """The figure of one task and data set, None where no two runs differ in `axis` alone.

    A curve is over the images that all its runs have, each the mean over its seeds; bars are 95 % intervals over images
    (and seeds, where there are several).
    """
    lines = _lines(problem, axis)
    points = {metric: [_points(problem, line.runs, axis, metric) for line in lines] for metric in metrics_of(problem)}
    points = {metric: of_lines for metric, of_lines in points.items() if max(map(len, of_lines), default=0) > 1}
    if not points:
        return None
    figure, panels = grid(list(points), problem.title)
    for of_lines, panel in zip(points.values(), panels, strict=True):
        for line, of in zip(lines, of_lines, strict=True):
            _draw_line(panel, line, of)
        _ticks(panel, sorted({x for of in of_lines for x in of.index}))
        panel.set_xlabel(AXES[axis])
    legend(figure, panels)
    return figure


def _lines(problem: Problem, axis: str) -> list[Line]:
    looks, lines = styles(problem.runs["method"]), []
    seen: Counter[str] = Counter()
    for told, runs in curves(problem.runs, axis):
        method = str(runs["method"].iloc[0])
        fill = FILLS[seen[method] % len(FILLS)]
        seen[method] += 1
        lines.append(Line(f"{called('method', method)} {told}".strip(), looks[method], fill, runs))
    return lines


def _points(problem: Problem, runs: pd.DataFrame, axis: str, metric: Protocol) -> pd.DataFrame:
    """By place on the axis: `mean`, `low`, `high`."""
    found: dict[Any, Any]
    if metric.per == "set":
        of_seeds = {x: [of_set(run, metric.name) for _, run in of.iterrows()] for x, of in runs.groupby(axis)}
        found = {x: tuple(sum(part) / len(part) for part in zip(*of, strict=True)) for x, of in of_seeds.items()}
    else:
        known = problem.rows[problem.rows["run_id"].isin(runs["run_id"])].merge(runs[["run_id", axis, "seed"]])
        table = known.pivot_table(index="image_id", columns=[axis, "seed"], values=metric.name).dropna()
        if table.empty:
            return pd.DataFrame(columns=["mean", "low", "high"])
        found = {x: _interval(pd.DataFrame(table[x])) for x in table.columns.unique(0)}
    points = pd.DataFrame.from_dict(found, orient="index", columns=["mean", "low", "high"])
    return points[points["mean"].notna()].sort_index()


def _interval(table: pd.DataFrame) -> tuple[float, float, float]:
    estimate = mean(table)
    half = math.nan if estimate.se is None else stats.t.ppf(0.975, max(estimate.n, 2) - 1) * estimate.se
    return estimate.value, estimate.value - half, estimate.value + half


def _draw_line(panel: Axes, line: Line, points: pd.DataFrame) -> None:
    low, high = points["mean"] - points["low"], points["high"] - points["mean"]
    panel.errorbar(
        points.index.to_numpy(dtype=float),
        points["mean"],
        yerr=[low.fillna(0), high.fillna(0)],
        color=line.look["colour"],
        dashes=line.look["dash"] or (None, None),
        marker=line.look["marker"],
        fillstyle=line.fill,
        label=line.label,
        capsize=2,
        elinewidth=0.8,
    )


def _ticks(panel: Axes, places: list[float]) -> None:
    """A logarithmic axis where it spans much; few places are all marked, as themselves."""
    if places[0] > 0 and places[-1] / places[0] > 4:
        panel.set_xscale("log")
    if len(places) <= FEW:
        panel.xaxis.set_major_locator(FixedLocator(places))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([f"{place:g}" for place in places])

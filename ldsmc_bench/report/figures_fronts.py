"""The figure of quality against cost: every run a point, and the Pareto front of them."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ldsmc_bench.report.figures_data import Problem, half_interval, metrics_of, of_set, passes
from ldsmc_bench.report.figures_style import grid, legend, styles
from ldsmc_bench.report.names import called
from ldsmc_bench.scoring.protocols import Protocol

COSTS = {
    "passes": "network passes per image:\nforward + 2 backward of denoiser,\ndecoder and encoder, each as one",
    "seconds": "seconds per image,\non the machine that ran it",
}


def draw(problem: Problem, cost: str) -> Figure | None:
    """The figure of one task and data set against `passes` or `seconds`, None where no two of its runs differ in it.

    Each run is over its own images, with 95 % intervals over them. Full marks are on the Pareto front: no other run is
    both as cheap and better.
    """
    rows = problem.rows
    of_rows = passes(rows) if cost == "passes" else rows.get("cost.seconds", pd.Series(math.nan, rows.index))
    costs = of_rows.groupby(rows["run_id"]).mean().round(6)  # equal counts stay equal
    points = {metric: _points(problem, costs[costs > 0], metric) for metric in metrics_of(problem)}
    points = {metric: of for metric, of in points.items() if of["cost"].nunique() > 1}
    if not points:
        return None
    figure, panels = grid(list(points), problem.title)
    for (metric, of), panel in zip(points.items(), panels, strict=True):
        _panel(panel, of, metric)
        panel.set_xscale("log")
        decades = math.log10(of["cost"].max() / of["cost"].min())
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1,)))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())  # its own labels would overlap
        panel.set_xlabel(COSTS[cost], fontsize=7)
    legend(figure, panels)
    return figure


def front(costs: Sequence[float], merits: Sequence[float]) -> list[int]:
    """The points than which no other is both as cheap and better, by rising cost; of equal points the first."""
    best, found = float("-inf"), []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -merits[i])):
        if merits[i] > best:
            best = merits[i]
            found.append(i)
    return found


def merit(metric: Protocol, value: float) -> float:
    """How good a value is: more is better."""
    return {"higher": value, "lower": -value, "one": -abs(value - 1)}[metric.better]


def _points(problem: Problem, costs: pd.Series, metric: Protocol) -> pd.DataFrame:
    """A line a run: `method cost mean low high`."""
    found = []
    for _, run in problem.runs.iterrows():
        if metric.per == "set":
            mean, low, high = of_set(run, metric.name)
        else:
            values = problem.rows.loc[problem.rows["run_id"] == run["run_id"], metric.name].dropna()
            half = half_interval(values)
            mean, low, high = values.mean(), values.mean() - half, values.mean() + half
        found.append((run["method"], costs.get(run["run_id"]), mean, low, high))
    points = pd.DataFrame(found, columns=["method", "cost", "mean", "low", "high"])
    return points.dropna(subset=["cost", "mean"]).reset_index(drop=True)


def _panel(panel: Axes, points: pd.DataFrame, metric: Protocol) -> None:
    best = front(points["cost"].tolist(), [merit(metric, value) for value in points["mean"]])
    panel.step(
        points["cost"][best],
        points["mean"][best],
        where="post",
        color="0.65",
        zorder=1,
        label="Pareto front: full marks",
    )
    looks = styles(points["method"])
    below, above = (points["mean"] - points["low"]).fillna(0), (points["high"] - points["mean"]).fillna(0)
    for i, (method, cost, mean) in enumerate(points[["method", "cost", "mean"]].itertuples(index=False)):
        panel.errorbar(
            cost,
            mean,
            yerr=[[below[i]], [above[i]]],
            color=looks[method]["colour"],
            marker=looks[method]["marker"],
            fillstyle="full" if i in best else "none",
            linestyle="",
            elinewidth=0.7,
            label=called("method", method),
        )

"""The figures of the exactness leaderboard: distance to known posteriors against denoiser calls and difficulty."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ldsmc_bench.report.figures.plot import add_legend, figure_text, line_styles, panels, style
from ldsmc_bench.report.frame import Images
from ldsmc_bench.report.statistics import EXACT

SHOWN = 8  # methods with a colour: the best; others are grey
CALLS = "cost.denoiser_forward"
TICKS = (1, 2, 5, 10, 20)


def against_calls(runs: pd.DataFrame, images: Images) -> Figure:
    """A panel a world: for each method the median distance over its floor against the denoiser calls of a draw."""
    worlds, looks = sorted(runs["dataset.world"].unique()), best(runs, images)
    figure, axes = panels(worlds, "SW1 to the exact posterior / noise floor, against denoiser calls a draw")
    figure.set_size_inches(7.2, 3.9 * -(-len(worlds) // 3))
    for panel, world in zip(axes, worlds, strict=True):
        for name, line in runs[runs["dataset.world"] == world].groupby("name"):
            points = sorted((images[i][CALLS].mean(), images[i][EXACT].median()) for i in line["run_id"])
            _draw(panel, points, str(name), looks)
        panel.axhline(1.0, color="0.4", linewidth=5, alpha=0.35, label="exact draws", zorder=0)
        panel.set(xscale="log", yscale="log", xlabel="denoiser calls of a draw")
    add_legend(figure)
    return figure


def against_difficulty(runs: pd.DataFrame, images: Images) -> Figure:
    """A panel for each number of calls: for each problem of all worlds the distance against how many modes share its
    posterior; a line a method joins the medians of thirds of the problems."""
    budgets, looks = sorted(runs["dataset.calls"].unique()), best(runs, images)
    title = "SW1 / noise floor, against the entropy of the posterior's weights"
    figure, axes = panels([f"{calls:,} calls" for calls in budgets], title)
    figure.set_size_inches(7.2, 3.9)
    for panel, calls in zip(axes, budgets, strict=True):
        for name, group in runs[runs["dataset.calls"] == calls].groupby("name"):
            rows = pd.concat([images[run_id][["entropy", EXACT]] for run_id in group["run_id"]]).dropna()
            if len(rows) < 3:
                continue
            third = pd.qcut(rows["entropy"].rank(method="first"), 3, labels=False)
            points = sorted(tuple(part.median()) for _, part in rows.groupby(third))
            _draw(panel, points, str(name), looks)
        panel.axhline(1.0, color="0.4", linewidth=5, alpha=0.35, label="exact draws", zorder=0)
        panel.set(yscale="log", xlabel="entropy of the weights (nat)")
    add_legend(figure)
    return figure


def weights_off_and_on(pairs: pd.DataFrame, images: Images) -> Figure:
    """A panel for each world and number of calls: for each method the median distance over its floor of one particle
    without weights and of N weighted ones, joined by a line. `pairs` has a row a method, with the run of each."""
    groups = list(pairs.groupby(["world", "calls"]))
    figure, axes = panels([f"{world}, {calls:,} calls" for (world, calls), _ in groups], "SW1 / noise floor")
    figure.set_size_inches(7.2, 2.3 * -(-len(groups) // 3) + 0.4)
    for panel, (_, group) in zip(axes, groups, strict=True):
        for place, (_, row) in enumerate(group.iterrows()):
            off, on = (float(images[row[key]][EXACT].median()) for key in ("off", "on"))
            panel.plot([off, on], [place, place], color="0.7", zorder=1)
            panel.plot(off, place, marker="o", color="white", markeredgecolor="black", label="one path, no weights")
            panel.plot(on, place, marker="o", color=style(2)["colour"], label="N particles, weighted")
        panel.axvline(1.0, color="0.4", linewidth=5, alpha=0.35, label="exact draws", zorder=0)
        panel.set(xscale="log", yticks=range(len(group)), xticks=TICKS)
        panel.set_xticklabels(map(str, TICKS))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_yticklabels([figure_text(name) for name in group["name"]])
    add_legend(figure)
    return figure


def best(runs: pd.DataFrame, images: Images) -> dict[str, Any]:
    """The styles of the methods that come nearest, by the median over all their problems."""
    medians = {
        str(name): pd.concat([images[run_id][EXACT] for run_id in group["run_id"]]).median()
        for name, group in runs.groupby("name")
    }
    names = sorted(medians, key=lambda name: medians[name])[:SHOWN]
    return dict(zip(names, line_styles(names), strict=True))


def _draw(panel: Axes, points: Sequence[tuple[float, ...]], name: str, looks: Mapping[str, Any]) -> None:
    if name in looks:
        look = looks[name]
        marks = {"color": look["colour"], "dashes": look["dash"], "marker": look["marker"]}
        panel.plot(*zip(*points, strict=True), label=figure_text(name), **marks)
    else:
        panel.plot(*zip(*points, strict=True), color="0.75", marker=".", label="others", zorder=1, linewidth=0.6)

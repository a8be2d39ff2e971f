"""Axes that a metric is drawn against: arguments of runs, their cost, draws, difficulty of images, the sampler's steps.

Runs in several seeds are one line. Its points are cells of a table: means with the same standard errors.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.plot import TaskRuns
from ldsmc_bench.report.frame import Images
from ldsmc_bench.report.select import curves, identity_texts, join_label, key_texts, label_runs
from ldsmc_bench.report.statistics import PASSES, Estimate, by_image, mean
from ldsmc_bench.report.tables.content import fill_cell
from ldsmc_bench.report.tables.layout import Metric

AXES = {"particles": "particles $N$", "steps": "steps", "sample.s": "$s$", "sample.gibbs_iterations": "Gibbs sweeps"}
COSTS = {
    "denoiser": ("cost.denoiser_forward", "denoiser calls per image", ""),
    "passes": ("passes", "network passes per image", f"{PASSES[0].upper()}{PASSES[1:]}."),
    "seconds": ("seconds", "seconds per image", "Seconds are those of the machine that ran it."),
}
FEW = 7  # places of an axis that are all marked
Marks = dict[str, Any]  # of a line: its label, colour, dashes and marker, as matplotlib takes them
THIRDS = ("easy", "medium", "hard")
ENTROPY = "entropy"  # of the weights of a known posterior's modes
ESS = Metric(name="ess", label="ESS / N", latex="ESS / N", digits=2)


class Point(NamedTuple):
    """A mean at a place of the axis, with the text beside it."""

    x: float
    estimate: Estimate
    text: str = ""


class Line(NamedTuple):
    """The points of runs of a method, and the settings that distinguish them from its other lines."""

    method: str
    settings: str
    points: list[Point]


class Kind(NamedTuple):
    """An axis: its key, label and content, why there may be none, its note for the caption, its lines, how they are
    drawn, the settings besides the method that runs may differ in, and the one that they are swept over."""

    key: str
    label: str
    content: str
    why_none: str
    note: str
    lines: Callable[[TaskRuns, Metric], list[Line]]
    draw: Callable[[Axes, list[Line], list[Marks], Metric], None]
    named: tuple[str, ...] = ("method",)
    swept: str | None = None

    @property
    def end(self) -> str:
        """The end of its files' names."""
        return self.key.removeprefix("sample.")


def configurations(
    of_task: TaskRuns, chosen: Callable[[pd.DataFrame], pd.Series]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The chosen runs that differ in their seed alone, in their order, with what distinguishes them from other ones of
    their method."""
    runs = of_task.runs[chosen(of_task.runs).astype(bool)]
    texts = key_texts(runs, ["method"]) + identity_texts(runs)
    groups = [group for _, group in runs.groupby(texts, sort=False)]
    firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
    for group, settings in zip(groups, label_runs(firsts, ignored=("seed",)), strict=True):
        yield join_label("", settings).strip(), group


def _cell(metric: Metric, runs: pd.DataFrame, images: Images) -> Estimate | None:
    in_seeds: list[Any] = sorted(runs.to_dict("records"), key=lambda run: run["seed"])
    return fill_cell(metric, in_seeds, images).estimate


def sweep_lines(of_task: TaskRuns, metric: Metric, axis: str) -> list[Line]:
    """A line for each group of runs that differ in `axis` alone, over the images that all of it have."""
    lines = []
    for settings, runs in curves(of_task.runs, axis):
        shared = by_image(runs["run_id"], of_task.images, metric.column).dropna().index
        images = {i: of_task.images[i].reindex(shared) for i in runs["run_id"] if i in of_task.images}
        cells = {float(of_place[axis].iloc[0]): _cell(metric, of_place, images) for _, of_place in runs.groupby(axis)}
        points = [Point(x, cell) for x, cell in sorted(cells.items()) if cell]
        lines.append(Line(str(runs["method"].iloc[0]), settings, points))
    return [line for line in lines if len(line.points) > 1]


def cost_lines(of_task: TaskRuns, metric: Metric, cost: str) -> list[Line]:
    """A line for each method, whose points are its runs with other settings."""
    by_method: dict[str, list[Point]] = {}
    for settings, runs in configurations(of_task, lambda runs: runs["run_id"].isin(of_task.images)):
        images = [of_task.images[i] for i in runs["run_id"]]
        costs = [one[cost].mean() for one in images if cost in one]
        estimate, x = _cell(metric, runs, of_task.images), float(np.mean(costs)) if costs else math.nan
        if estimate and x > 0:
            beside = settings.replace("steps=", "").replace(" ", ", ")
            by_method.setdefault(str(runs["method"].iloc[0]), []).append(Point(float(f"{x:.6g}"), estimate, beside))
    lines = [Line(method, "", points) for method, points in by_method.items()]
    return lines if len({point.x for line in lines for point in line.points}) > 1 else []


def draw_lines(of_task: TaskRuns, metric: Metric) -> list[Line]:
    """The expected best of k draws of an image by this metric, against k, over the images that have all draws."""
    lines: list[Line] = []
    if metric.of_sets or metric.better not in ("higher", "lower"):
        return lines
    for settings, runs in configurations(of_task, lambda runs: runs["draws"] > 1):
        rows = frame.rows(of_task.results_dir, runs["run_id"].tolist(), [metric.column], every_draw=True)
        rows = rows[(rows["status"] == "ok") & (rows["draw"] < runs["draws"].min())]
        if metric.column not in rows:
            continue
        values = rows.pivot(index=["run_id", "image_id"], columns="draw", values=metric.column).dropna()
        points = []
        for k in range(1, values.shape[1] + 1) if len(values) else ():
            best = pd.Series(best_of(values.to_numpy() * metric.times, k, metric.better), index=values.index)
            if len(table := best.unstack("run_id").dropna()):
                points.append(Point(k, mean(table)))
        lines.append(Line(str(runs["method"].iloc[0]), settings, points))
    return [line for line in lines if len(line.points) > 1]


def best_of(values: np.ndarray, k: int, better: str) -> np.ndarray:
    """The mean, over all choices of k of the K columns of `values` (B,K), of the best in a choice: (B,)."""
    ordered = -np.sort(-values, axis=1) if better == "lower" else np.sort(values, axis=1)
    size = values.shape[1]
    weights = [math.comb(i, k - 1) / math.comb(size, k) for i in range(size)]  # the i-th is the best of the chosen
    return np.asarray(ordered @ np.array(weights))


def difficulty_lines(of_task: TaskRuns, metric: Metric) -> list[Line]:
    """A line for each method and setting, over the easy, the medium and the hard third of the images."""
    groups = [*configurations(of_task, lambda runs: runs["run_id"].isin(of_task.images))]
    if metric.of_sets or metric.better not in ("higher", "lower", "one"):
        return []
    tables = [by_image(runs["run_id"], of_task.images, metric.column).dropna() * metric.times for _, runs in groups]
    values = pd.DataFrame({i: table.mean(axis=1) for i, table in enumerate(tables) if len(table)}).dropna()
    if len(values) < 2 * len(THIRDS):
        return []
    hard = {"higher": -values, "lower": values, "one": (values - 1).abs()}[metric.better].mean(axis=1)
    known = [of_task.images[i][ENTROPY] for i in of_task.runs["run_id"] if ENTROPY in of_task.images.get(i, ())]
    hard = known[0].reindex(hard.index).fillna(hard) if known else hard
    third = pd.qcut(hard.rank(method="first"), len(THIRDS), labels=False)
    lines = []
    for i, (settings, runs) in enumerate(groups):
        if i in values:
            parts = [tables[i].reindex(third.index[third == number]) for number in range(len(THIRDS))]
            points = [Point(number, mean(part)) for number, part in enumerate(parts)]
            lines.append(Line(str(runs["method"].iloc[0]), settings, points))
    return lines


def ess_lines(of_task: TaskRuns, metric: Metric = ESS) -> list[Line]:
    """ESS / N against the fraction of the sampler's steps, a line for each number of particles."""
    lines = []
    for settings, runs in configurations(of_task, lambda runs: runs["particles"] > 1):
        found = [frame.diagnostics(of_task.results_dir, run_id) for run_id in runs["run_id"]]
        steps = pd.concat([one[one["name"] == "ess"] for one in found]).groupby("step")[["mean", "n"]]
        if len(steps) > 1:
            values, n = steps.mean()["mean"] / runs["particles"].iloc[0], int(steps.min()["n"].min())
            places = np.linspace(0, 1, len(values)).tolist()
            points = [Point(x, Estimate(value, None, n, len(runs))) for x, value in zip(places, values, strict=True)]
            named = settings if "N=" in settings else f"N={runs['particles'].iloc[0]} {settings}".strip()
            lines.append(Line(str(runs["method"].iloc[0]), named, points))
    return lines


def draw_curves(panel: Axes, lines: list[Line], looks: list[Marks], metric: Metric) -> None:
    """Each line with its bars; the axis is logarithmic where it spans much, and few places are all marked."""
    for line, look in zip(lines, looks, strict=True):
        x, y, bars = _arrays(line)
        panel.errorbar(x, y, yerr=bars, capsize=2, elinewidth=0.8, **look)
    places = sorted({point.x for line in lines for point in line.points})
    if places[0] > 0 and places[-1] / places[0] > 4:
        panel.set_xscale("log")
    if len(places) <= FEW:
        panel.xaxis.set_major_locator(FixedLocator(places))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([f"{place:g}" for place in places])


def draw_thirds(panel: Axes, lines: list[Line], looks: list[Marks], metric: Metric) -> None:
    """Lines over the thirds of the images, beside each other so that no bar hides another."""
    for i, (line, look) in enumerate(zip(lines, looks, strict=True)):
        x, y, bars = _arrays(line)
        panel.errorbar(x + 0.04 * (i - len(lines) / 2), y, yerr=bars, elinewidth=0.8, **look)
    panel.set_xticks(range(len(THIRDS)), THIRDS)


def draw_ess(panel: Axes, lines: list[Line], looks: list[Marks], metric: Metric) -> None:
    """Lines without marks, from 0 to 1."""
    for line, look in zip(lines, looks, strict=True):
        panel.plot(*_arrays(line)[:2], **(look | {"marker": ""}))
    panel.set(ylim=(-0.03, 1.03), xlim=(-0.02, 1.02))


def draw_costs(panel: Axes, lines: list[Line], looks: list[Marks], metric: Metric) -> None:
    """Every setting a point, full on the Pareto front, and its settings beside it where its method has several."""
    points = [point for line in lines for point in line.points]
    values = np.array([point.estimate.value for point in points])
    merits = {"higher": values, "lower": -values, "one": -abs(values - 1), "none": -values}[metric.better]
    best = front([point.x for point in points], merits.tolist())
    on_front = [points[i] for i in best]
    steps = [point.x for point in on_front], [point.estimate.value for point in on_front]
    panel.step(*steps, where="post", color="0.65", zorder=1, label="Pareto front")
    for line, look in zip(lines, looks, strict=True):
        x, y, bars = _arrays(line)
        for i, point in enumerate(line.points):
            full = "full" if point in on_front else "none"
            marks = look | {"fillstyle": full, "linestyle": "", "elinewidth": 0.7}
            panel.errorbar(x[i : i + 1], y[i : i + 1], yerr=bars[i : i + 1], **marks)
            small = {"fontsize": rcParams["font.size"] - 2, "color": look["color"]}
            panel.annotate(point.text, (x[i], y[i]), (3, 3), textcoords="offset points", **small)
    panel.set_xscale("log")
    panel.margins(x=0.15)
    decades = math.log10(max(point.x for point in points) / min(point.x for point in points))
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1,)))
    panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x < 1000 else EngFormatter(sep="")(x))
    panel.xaxis.set_minor_formatter(NullFormatter())  # its own labels would overlap


def front(costs: Sequence[float], merits: Sequence[float]) -> list[int]:
    """The points than which no other is both as cheap and better, by rising cost; of equal points the first."""
    best, on_front = float("-inf"), []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -merits[i])):
        if merits[i] > best:
            best = merits[i]
            on_front.append(i)
    return on_front


def _arrays(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, values and standard errors, 0 where unknown."""
    values = [(point.x, point.estimate.value, point.estimate.se or 0.0) for point in line.points]
    x, y, bars = np.array(values).T
    return x, y, bars


def sweep_kind(axis: str) -> Kind:
    """The kind of figure with an argument of the runs as its axis."""
    label = AXES.get(axis, axis.removeprefix("sample."))
    content, why = f"metrics against {label.replace('$', '')}", "no two runs differ in that alone"
    return Kind(axis, label, content, why, "", partial(sweep_lines, axis=axis), draw_curves, swept=axis)


BESIDE = "Beside marks, where a method has several: N, steps. Full marks: no other is both as cheap and better."
KINDS = [*map(sweep_kind, AXES)]
for _cost, (_column, _label, _note) in COSTS.items():
    _why = "no two runs of a task differ in them"
    _note = f"{BESIDE} {_note}".strip()
    _lines = partial(cost_lines, cost=_column)
    _named = ("method", "particles", "steps")
    KINDS.append(Kind(_cost, _label, f"metrics against {_label}", _why, _note, _lines, draw_costs, _named))
KINDS.append(
    Kind(
        "draws", "draws $k$", "metrics of the best of k draws", "no run has several draws (draws=K)",
        "Best of k, an oracle: this very metric chooses, which knows the true image; mean over all choices of k draws.",
        draw_lines, draw_curves,
    )
)  # fmt: skip
KINDS.append(
    Kind(
        "difficulty", "difficulty of the images", "metrics against difficulty", "no six images that all runs have",
        "Easy, medium and hard: thirds of the images by their mean over all that is drawn, or by the entropy of the "
        "weights of their posterior, where that is known.",
        difficulty_lines, draw_thirds,
    )
)  # fmt: skip
KINDS.append(
    Kind(
        "ess", "fraction of the chain", "effective sample sizes", "no run with several particles has them",
        "ESS: effective sample size of the weights, as a share of the particles, mean over images.",
        ess_lines, draw_ess, ("method", "particles"),
    )
)  # fmt: skip

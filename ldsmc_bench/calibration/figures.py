"""Figures of calibration, a panel for each method: rank histograms, coverage of balls, scalars' ranks, reliability.

Each maps the names of methods to their scores. The caller has set matplotlib's look, and saves them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldsmc_bench.calibration.draws import Pooled
from ldsmc_bench.calibration.reliability import Reliability
from ldsmc_bench.calibration.sbc import Uniformity
from ldsmc_bench.text import number

# Okabe & Ito, "Color Universal Design" (2008); the first is for panels with a single line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A")
BAND = "0.85"
PANEL = (1.9, 1.85)  # inches
ACROSS = 4


def rank_histograms(methods: Mapping[str, Pooled], title: str = "Ranks of the truth among the draws") -> Figure:
    """Of hidden entries. The line is flat where calibrated; the band is its 95 % interval at each rank, over images."""
    figure, panels = _panels(list(methods), title, "rank of the truth / K", "frequency / uniform")
    for panel, scores in zip(panels, methods.values(), strict=True):
        cells = len(scores.shares)
        edges = np.arange(cells + 1) / cells
        half = np.append(scores.errors, scores.errors[-1]) * 1.96 * cells
        panel.fill_between(edges, 1 - half, 1 + half, step="post", color=BAND, linewidth=0, label="95 % if calibrated")
        panel.stairs(scores.shares * cells, edges, color=COLOURS[0], fill=True, alpha=0.35)
        panel.stairs(scores.shares * cells, edges, color=COLOURS[0], linewidth=1.2, label="truths")
        panel.axhline(1, color="0.3", linewidth=0.8, label="calibrated")
        covered = dict(zip(scores.levels, (scores.coverage_50, scores.coverage_90), strict=True))  # once a level
        covers = (f"{100 * level:.0f} %: {100 * share.value:.0f} %" for level, share in covered.items())
        _note(panel, f"spread/skill {scores.spread_skill.value:.2f}", "   ".join(covers))
    panels[0].set(xlim=(0, 1), ylim=(0, max(2.0, panels[0].get_ylim()[1])))
    return _with_legend(figure, panels)


def coverage_curves(methods: Mapping[str, Uniformity], title: str = "Coverage of balls around faces (TARP)") -> Figure:
    """A calibrated sampler's curve is within the band at all points at once in 95 % of the cases."""
    figure, panels = _panels(list(methods), title, "credibility", "coverage")
    for panel, scores in zip(panels, methods.values(), strict=True):
        grid = np.r_[0, scores.grid, 1]
        low, high = (np.r_[0, bound, 1] for bound in (scores.low, scores.high))
        panel.fill_between(grid, low, high, color=BAND, linewidth=0, label="95 % if calibrated")
        panel.plot((0, 1), (0, 1), color="0.3", linewidth=0.8, label="calibrated")
        panel.plot(grid, np.r_[0, scores.ecdf, 1], color=COLOURS[0], linewidth=1.4, label="draws")
        panel.set(xlim=(0, 1), ylim=(0, 1), yticks=(0, 0.5, 1))
        _note(panel, f"KS {scores.ks:.2f}   {_p(scores.p)}   n = {scores.n}")
    return _with_legend(figure, panels)


def rank_differences(
    methods: Mapping[str, Mapping[str, Uniformity]], title: str = "Ranks of scalars (SBC): excess over uniform"
) -> Figure:
    """By method and scalar. A calibrated sampler's line is within the band at all points at once in 95 % of cases."""
    figure, panels = _panels(list(methods), title, "rank of the truth / K", "ECDF − uniform")
    for panel, scalars in zip(panels, methods.values(), strict=True):
        for i, (name, scores) in enumerate(scalars.items()):
            grid = np.r_[0, scores.grid, 1]
            if i == 0:  # all scalars are of the same images
                low, high = (np.r_[0, bound - scores.grid, 0] for bound in (scores.low, scores.high))
                panel.fill_between(grid, low, high, color=BAND, linewidth=0, label="95 % if calibrated")
                panel.axhline(0, color="0.3", linewidth=0.8)
            outside, colour = not scores.inside, COLOURS[i % len(COLOURS)]
            panel.plot(grid, np.r_[0, scores.ecdf - scores.grid, 0], color=colour, lw=1 + 0.6 * outside, label=name)
        _note(panel, f"{sum(not scores.inside for scores in scalars.values())} of {len(scalars)} leave the band")
        panel.set_xlim(0, 1)
    return _with_legend(figure, panels)


def reliability_curves(methods: Mapping[str, Reliability], title: str = "Attributes of the draws") -> Figure:
    """Frequency of an attribute against its share among the draws, with 95 % Wilson intervals.

    The dashed line, of a calibrated sampler with as many draws, is the one to compare with. Bars are images in a bin.
    """
    figure, panels = _panels(list(methods), title, "share of the draws", "frequency among truths")
    for panel, scores in zip(panels, methods.values(), strict=True):
        panel.bar(scores.share, 0.2 * scores.images / scores.images.max(), width=0.05, color="0.8", label="images")
        panel.plot((0, 1), (0, 1), color="0.6", linewidth=0.8)
        panel.plot(scores.share, scores.expected, color="0.2", dashes=(4, 2), linewidth=1, label="if calibrated")
        below, above = (np.maximum(0, half) for half in (scores.frequency - scores.low, scores.high - scores.frequency))
        mark: Any = {"color": COLOURS[0], "marker": "o", "ms": 3.5, "capsize": 1.5, "elinewidth": 0.8, "lw": 1.1}
        panel.errorbar(scores.share, scores.frequency, yerr=(below, above), label="truths, 95 %", **mark)
        panel.set(xlim=(-0.04, 1.04), ylim=(0, 1.03), yticks=(0, 0.5, 1))
        _note(panel, f"ECE {scores.ece:.3f}   floor {scores.ece_floor:.3f}   {_p(scores.p)}")
    return _with_legend(figure, panels)


def _panels(names: Sequence[str], title: str, xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """Panels of one size with the same axes, in rows of nearly equal length."""
    down = -(-len(names) // ACROSS)
    across = -(-len(names) // down)
    figure = Figure(figsize=(max(2, across) * PANEL[0] + 0.3, down * PANEL[1] + 0.8), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for spare in axes[len(names) :]:
        spare.remove()
    for i, (panel, name) in enumerate(zip(axes, names, strict=False)):
        panel.set_title(name)
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        if i % across == 0:
            panel.set_ylabel(ylabel)
        if i + across >= len(names):
            panel.set_xlabel(xlabel)
            panel.tick_params(labelbottom=True)
    figure.suptitle(title, fontsize=9, fontweight="bold")
    return figure, axes[: len(names)]


def _with_legend(figure: Figure, panels: Sequence[Axes]) -> Figure:
    marks = {label: mark for panel in panels for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    columns = 4 if figure.get_figwidth() > 5 else 3
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=7)
    return figure


def _note(panel: Axes, *lines: str) -> None:
    """Numbers between the panel and its title, where no curve is."""
    panel.text(0.5, 1.02, "\n".join(lines), transform=panel.transAxes, fontsize=6.5, va="bottom", ha="center")
    panel.set_title(panel.get_title(), fontsize=8, pad=5 + 9 * len(lines))


def _p(value: float) -> str:
    return f"p = {number(value, 3, 0.001)}".replace("= <", "<")

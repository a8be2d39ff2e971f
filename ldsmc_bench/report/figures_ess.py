"""The figure of effective sample sizes over the steps, and of how often particles were resampled."""

import pandas as pd
from matplotlib.figure import Figure

from ldsmc_bench.report import frame
from ldsmc_bench.report.figures_data import Problem, name_of, told_apart
from ldsmc_bench.report.figures_style import legend, plain_grid, style
from ldsmc_bench.report.names import called

MOST, BANDS = 8, 3  # runs in a figure, and up to how many their bands can be told apart


def draw(problem: Problem) -> Figure | None:
    """The figure of one task and data set, None where no run of several particles tells its ESS.

    Above the mean over images of ESS/N (the band: 5 % to 95 % of the images), below the share of them resampled, at
    each step in the order in which the sampler took them. Past eight runs, the first eight by method, steps and N.
    """
    several = problem.runs[problem.runs["particles"] > 1].sort_values(["method", "steps", "particles", "run_id"])
    told = [(run, frame.diagnostics(problem.results_dir, run["run_id"])) for _, run in several.head(MOST).iterrows()]
    told = [(run, of) for run, of in told if (of["name"] == "ess").any()]
    if not told:
        return None
    names = told_apart(pd.DataFrame([run for run, _ in told]))
    resampled = any((of["name"] == "resampled").any() for _, of in told)
    figure, panels = plain_grid(["ESS / N", *(["share resampled"] if resampled else [])], problem.title)
    for i, ((run, of), said) in enumerate(zip(told, names, strict=True)):
        look = style(i)
        label = name_of(called("method", run["method"]), said)
        for panel, name, scale in zip(panels, ("ess", "resampled"), (run["particles"], 1), strict=False):
            steps = of[of["name"] == name]
            dashes = look["dash"] or (None, None)
            panel.plot(steps["step"], steps["mean"] / scale, color=look["colour"], dashes=dashes, label=label)
            if name == "ess" and len(told) <= BANDS:
                low, high = steps["q05"] / scale, steps["q95"] / scale
                panel.fill_between(steps["step"], low, high, color=look["colour"], alpha=0.15, linewidth=0)
    for panel in panels:
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel("step")
    if len(several) > MOST:
        panels[0].set_title(f"the first {MOST} of {len(several)} runs", fontsize=7, loc="right")
    legend(figure, panels)
    return figure

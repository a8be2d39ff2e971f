"""`python -m ldsmc_bench.report.figures`: what particles, steps and compute buy, and effective sample sizes.

Writes a PDF and a PNG into results/figures for each task and data set and for whatever varies among its runs. What is
left out is told, with the reason.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from ldsmc_bench.errors import UserError
from ldsmc_bench.report import figures_ess, figures_fronts, figures_sweep, frame
from ldsmc_bench.report.figures_data import AXES, Problem
from ldsmc_bench.report.figures_style import LOOK, save

EXACT = "mixture"  # judged by the distance to the exact posterior, which has a figure of its own


class Kind(NamedTuple):
    """A kind of figure: the end of its files' names, what it shows, why there may be none, and what draws it."""

    end: str
    what: str
    why_none: str
    draw: Callable[[Problem], Figure | None]


KINDS = (
    *(
        Kind(
            axis.removeprefix("sample."),
            f"metrics against {label.replace('$', '')}",
            "no two runs differ in that alone",
            partial(figures_sweep.draw, axis=axis),
        )
        for axis, label in AXES.items()
    ),
    *(
        Kind(
            cost,
            f"metrics against {cost}",
            "no two runs of a task differ in them",
            partial(figures_fronts.draw, cost=cost),
        )
        for cost in figures_fronts.COSTS
    ),
    Kind("ess", "effective sample sizes", "no run with several particles tells them", figures_ess.draw),
)


def figures(results_dir: Path) -> Iterator[str]:
    """Make the figures one by one; yields a line for each, and one for each kind of which there is none.

    Raises UserError if the results cannot be read or a figure cannot be written.
    """
    runs = frame.runs(results_dir)
    runs = runs[(runs["n"] > 0) & (runs["dataset"] != EXACT)]
    runs = runs.sort_values(["method", "variant", "steps", "particles", "seed", "run_id"])
    rows = frame.rows(results_dir, runs["run_id"].tolist())
    rows = rows[rows["status"] == "ok"]
    problems = [
        Problem(str(task), str(dataset), of, rows[rows["run_id"].isin(of["run_id"])], results_dir)
        for (task, dataset), of in runs.groupby(["task", "dataset"])
    ]
    for kind in KINDS:
        none = True
        for problem in problems:
            with rc_context(LOOK):
                figure = kind.draw(problem)
                if figure is not None:
                    none = False
                    yield f"figure: {save(figure, results_dir / 'figures', _named(problem, kind.end))}"
        if none:
            yield f"left out: {kind.what}: {kind.why_none}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the figures and tell which; the exit code is 0, or 2 if results cannot be read or written."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.report.figures", description=__doc__)
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    options = parser.parse_args(arguments)
    try:
        for line in figures(Path(options.results_dir)):
            print(line)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _named(problem: Problem, end: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in (problem.task, problem.dataset, end))


if __name__ == "__main__":
    sys.exit(main())

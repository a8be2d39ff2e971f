"""`python -m ldsmc_bench.report.figures`: metrics against particles, steps and compute, and effective sample sizes.

Writes a PDF and a PNG into results/figures for each task and data set and for whatever varies among its runs. Kinds of
figures of which there is none are named, with the reason.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib import rc_context

from ldsmc_bench.cli import NO_RUNS, Options, entry, has_no_runs
from ldsmc_bench.errors import UserError
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.kinds import KINDS
from ldsmc_bench.report.figures.plot import LOOK, TaskRuns, save
from ldsmc_bench.report.statistics import EXACT, add_costs
from ldsmc_bench.text import printable


def figures(results_dir: Path) -> Iterator[str]:
    """Make the figures one by one; yields a line for each, and one for each kind of which there is none.

    Raises UserError if the results cannot be read or a figure cannot be written.
    """
    runs = frame.runs(results_dir)
    rows = add_costs(frame.rows(results_dir, runs["run_id"][runs["n"] > 0].tolist()))
    images = frame.images(rows[rows.reindex(columns=[EXACT])[EXACT].isna()])
    runs = runs[runs["run_id"].isin(images)]
    runs = runs.sort_values(["method", "variant", "steps", "particles", "seed", "run_id"])
    tasks = [
        TaskRuns(
            str(task), str(dataset), of_task, {run_id: images[run_id] for run_id in of_task["run_id"]}, results_dir
        )
        for (task, dataset), of_task in runs.groupby(["task", "dataset"])
    ]
    for kind in KINDS:
        none = True
        for of_task in tasks:
            with rc_context(LOOK):
                figure = kind.draw(of_task)
                if figure is not None:
                    none = False
                    parts = (of_task.task, of_task.dataset, kind.end)
                    name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in parts)
                    yield f"figure: {save(figure, results_dir / 'figures', name)}"
        if none:
            yield f"left out: {kind.content}: {kind.why_none}"


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the figures and print their paths; the exit code is 2 if results cannot be read or written."""
    options = Options("figures", __doc__, results_dir=True).read(arguments)
    if has_no_runs(options.results_dir):
        raise UserError(NO_RUNS)
    for line in figures(options.results_dir):
        print(printable(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

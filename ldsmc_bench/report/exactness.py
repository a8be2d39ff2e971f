"""`python -m ldsmc_bench.report.exactness`: how near each sampler comes to posteriors that are known, against N.

Medians over the problems of the runs with `dataset=mixture`: of the sliced Wasserstein distance over its noise floor,
and of how far the estimated log-evidence falls short, where a method estimates it.
"""

import argparse
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.status import requested
from ldsmc_bench.records.store import Store, read, runs
from ldsmc_bench.report.figures_style import LOOK, legend, plain_grid, save, style
from ldsmc_bench.report.names import METHODS, called

Lines = Mapping[str, Mapping[int, Mapping[str, float]]]  # median by line, particles and metric
FLOOR = 1.0
METRICS = {
    "sw1_ratio": "SW1 to the exact posterior / noise floor",
    "log_evidence_gap": "log p(y) − E log of its estimate",
}
VARIANTS = ("exact", "paper", "released")


def medians(results_dir: Path) -> tuple[Lines, str]:
    """Every line of the figure, and what problems they share, in words.

    Of several sets of problems in one folder (sizes, seeds, repetitions, steps) the one that most runs are of is shown.
    Raises UserError where there is none.
    """
    found = [
        (store, wanted) for store in runs(results_dir) if (wanted := requested(store)) and wanted.dataset == "mixture"
    ]
    if not found:
        raise UserError(f"{results_dir}: no run with dataset=mixture; make exactness makes them")
    sets = [_problems(store) for store, _ in found]
    (shown, _), *others = Counter(sets).most_common()
    if others:
        print(
            f"{sum(count for _, count in others)} runs on other problems or with other steps are left out",
            file=sys.stderr,
        )
    lines: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    records = 0
    for (store, wanted), problems in zip(found, sets, strict=True):
        rows = [record["metrics"] for record in read(store) if record["status"] == "ok"]
        if problems != shown or not rows:
            continue
        records = max(records, len(rows))
        names = [name for name in METRICS if all(name in row for row in rows)]
        line = _line(wanted.method, wanted.variant)
        lines[line][wanted.particles] = {name: statistics.median(row[name] for row in rows) for name in names}
    store, wanted = next(pair for pair, problems in zip(found, sets, strict=True) if problems == shown)
    draws = {len(np.load(path, mmap_mode="r")) for path in (store.root / "draws").glob("*.npy")}
    return lines, f"{records} Gaussian mixtures, {wanted.steps} steps, {max(draws, default=0)} draws each"


def draw(lines: Lines, problems: str) -> Figure:
    """The figure: a panel for the distance, one for the evidence."""
    figure, (distance, evidence) = plain_grid(list(METRICS.values()), f"Is it exact? {problems}, medians")
    figure.set_size_inches(7.2, 3.6)
    for number, line in enumerate(sorted(lines, key=_rank)):
        look = style(number)
        for panel, metric in ((distance, "sw1_ratio"), (evidence, "log_evidence_gap")):
            points = sorted((n, row[metric]) for n, row in lines[line].items() if metric in row)
            if points:
                panel.plot(
                    *zip(*points, strict=True),
                    color=look["colour"],
                    dashes=look["dash"],
                    marker=look["marker"],
                    label=line,
                )
    distance.axhline(FLOOR, color="0.4", linewidth=5, alpha=0.35, label="noise floor (exact draws)", zorder=0)
    for panel in (distance, evidence):
        _logarithmic(panel)
    legend(figure, [distance, evidence])
    return figure


def _problems(store: Store) -> str:
    """What a run has in common with those that it may be compared with: its data set and its prior, whose digest tells
    the steps too."""
    config = yaml.safe_load((store.root / "config.yaml").read_text(encoding="utf-8"))
    return f"{config['dataset']['digest']} {config['prior']['digest']} {config['seed']} {config['task']['operator']}"


def _line(method: str, variant: str | None) -> str:
    name = called("method", method)
    return name if method != "ldsmc" and variant in (None, "default") else f"{name}, {variant}"


def _rank(line: str) -> tuple[int, int]:
    name, _, variant = line.partition(", ")
    known = list(METHODS.values())
    order = known.index(name) if name in known else len(known)
    return order, VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)


def _logarithmic(panel: Axes) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("particles N")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure and print its numbers; the exit code is 2 where there are no runs."""
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.report.exactness", description=__doc__)
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="the folder that holds runs/")
    parser.add_argument(
        "--out", type=Path, default=Path("results/figures/exactness.png"), help="the PNG; a PDF goes beside it"
    )
    options = parser.parse_args(arguments)
    try:
        lines, problems = medians(options.results_dir)
        with rc_context(LOOK):
            path = save(draw(lines, problems), options.out.parent, options.out.stem)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in sorted(lines, key=_rank):
        for particles, row in sorted(lines[line].items()):
            numbers = "  ".join(f"{name} {value:.3g}" for name, value in row.items())
            print(f"{line:20} N={particles:<5} {numbers}")
    print(f"figure: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

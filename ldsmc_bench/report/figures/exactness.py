"""`python -m ldsmc_bench exactness`: how near samplers come to known posteriors, against N.

Medians over the problems whose posterior is known: of the sliced Wasserstein distance over its noise floor, and of the
shortfall of the estimated log-evidence, where a method estimates it.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.store import Store, read
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.plot import LOOK, add_legend, figure_text, line_styles, panels, save
from ldsmc_bench.report.select import display_name, identity_texts, join_label, key_texts, label_runs, sort_key
from ldsmc_bench.report.statistics import EXACT

Lines = Mapping[str, Mapping[int, Mapping[str, float]]]  # median by line, particles and metric
METRICS = {EXACT: "SW1 to the exact posterior / noise floor", "log_evidence_gap": "log p(y) − E log of its estimate"}


def medians(results_dir: Path) -> tuple[Lines, str]:
    """Every line of the figure, and the problems that they share, in words.

    Of several sets of problems in one folder (sizes, seeds, steps) the one of most runs is shown. Raises
    UserError where there is none.
    """
    runs, rows = frame.runs(results_dir), frame.rows(results_dir, columns=METRICS)
    images = frame.images(rows[rows.reindex(columns=[EXACT])[EXACT].notna()])
    runs = runs[runs.run_id.isin(images)]
    if runs.empty:
        raise UserError(f"{results_dir}: no run on problems whose posterior is known; make exactness-particles")
    # The prior's digest depends on the steps too.
    problem = ["dataset.digest", "prior.digest", "seed", *(name for name in map(str, runs) if name.startswith("task."))]
    sets = key_texts(runs, problem)
    (shown, count), *_ = Counter(sets).most_common()
    if count < len(runs):
        print(f"{len(runs) - count} runs on other problems or with other steps are left out", file=sys.stderr)
    runs = runs[sets == shown]
    lines: dict[str, dict[int, dict[str, float]]] = {}
    for label, line in _lines(runs):
        for run_id, particles in zip(line.run_id, line.particles, strict=True):
            of_run = images[run_id].reindex(columns=list(METRICS)).median(skipna=False).dropna()
            lines.setdefault(label, {})[int(particles)] = {str(name): float(value) for name, value in of_run.items()}
    first = runs.iloc[0]
    records = read(Store(results_dir / "runs" / first.run_id, first.run_id))
    draws = max((record.get("draws", 0) for record in records), default=0)
    dataset = display_name("dataset", first.dataset)
    return lines, f"{runs.n.max()} {dataset}s, {first.steps} steps, {draws} draws each"


def draw(lines: Lines, problems: str) -> Figure:
    """The figure: a panel for the distance, one for the evidence."""
    figure, axes = panels(list(METRICS.values()), f"Is it exact? {problems}, medians")
    figure.set_size_inches(7.2, 3.6)
    looks = styles(lines)
    for panel, metric in zip(axes, METRICS, strict=True):
        for label, line in lines.items():
            look, points = looks[label], sorted((n, row[metric]) for n, row in line.items() if metric in row)
            if points:
                marks = {"color": look["colour"], "dashes": look["dash"], "marker": look["marker"]}
                panel.plot(*zip(*points, strict=True), label=figure_text(label), **marks)
        panel.set(xscale="log", yscale="log", xlabel="particles N")
    axes[0].axhline(1.0, color="0.4", linewidth=5, alpha=0.35, label="noise floor (exact draws)", zorder=0)
    add_legend(figure)
    return figure


def styles(labels: Collection[str]) -> dict[str, dict[str, Any]]:
    """A colour for each method, the part of a label before its first comma, and marks for each line."""
    return dict(zip(labels, line_styles(labels), strict=True))


def _lines(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs that differ in their particles alone, by method and variant; further settings are named where two would have
    the same label."""
    groups = [group for _, group in runs.groupby(identity_texts(runs, ["particles"]), sort=False)]
    groups.sort(key=lambda group: (sort_key("method", group.method.iloc[0]), group.variant.iloc[0]))
    firsts = pd.DataFrame([group.iloc[0] for group in groups], columns=runs.columns)
    labels = [
        f"{display_name('method', run.method)}, {run.variant}".removesuffix(", default") for run in firsts.itertuples()
    ]
    for group, label, settings in zip(groups, labels, label_runs(firsts, ignored=("particles", "seed")), strict=True):
        more = {key: value for key, value in settings.items() if key != "variant"} if labels.count(label) > 1 else {}
        yield join_label(label, more), group


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure and print its numbers; the exit code is 2 where there are no runs."""
    parser = Options("exactness", __doc__, results_dir=True)
    parser.add_argument("--out", type=Path, help="the PNG (default: R/figures/exactness.png); a PDF goes beside it")
    options = parser.read(arguments)
    out = options.out or options.results_dir / "figures" / "exactness.png"
    lines, problems = medians(options.results_dir)
    with rc_context(LOOK):
        path = save(draw(lines, problems), out.parent, out.stem)
    for label, line in lines.items():
        for particles, row in sorted(line.items()):
            numbers = "  ".join(f"{name} {value:.3g}" for name, value in row.items())
            print(f"{label:20} N={particles:<5} {numbers}")
    print(f"figure: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

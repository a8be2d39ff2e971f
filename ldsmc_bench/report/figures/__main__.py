"""`python -m ldsmc_bench figures`: any metric against particles, steps, cost, draws or difficulty; ESS over the chain.

Each figure is a PDF and a PNG in results/figures, and `<name>_caption.tex`, which says what its bars are. Without
options there is a figure of all metrics for each task and whatever varies among its runs. Kinds of figures of which
there is none are named, with the reason. Runs are chosen as tables choose them.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.files import replace, writing
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures import plot
from ldsmc_bench.report.figures.kinds import ESS, KINDS, Kind, Line, sweep_kind
from ldsmc_bench.report.figures.plot import TaskRuns
from ldsmc_bench.report.select import display_name, group_runs, require_ours, require_some, require_values, select_runs
from ldsmc_bench.report.statistics import EXACT, add_costs
from ldsmc_bench.report.tables import caption
from ldsmc_bench.report.tables.content import seeds_text
from ldsmc_bench.report.tables.layout import Layout, Metric, add_selection, check_layout, choose_metrics, read_filter
from ldsmc_bench.report.tables.typeset import ARROWS, PAGES, escape_latex
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.text import printable


class Looks(NamedTuple):
    """The width of a picture in inches, if it is for a paper; the size of its type in points, its files and folder."""

    width: float | None = None
    font: float = 8.0
    formats: Sequence[str] = plot.FORMATS
    folder: Path | None = None


class Wish(NamedTuple):
    """The figures asked for: of these metrics, all that there are without any, against these axes."""

    metrics: Sequence[Metric] = ()
    against: Sequence[Kind] = ()
    layout: Layout | None = None  # of the options that tables have too
    panels: str = "metric"
    looks: Looks = Looks()
    command: str = "python -m ldsmc_bench figures"


ALL = Wish()


class Panel(NamedTuple):
    """The lines of a metric for a task."""

    of_task: TaskRuns
    metric: Metric
    lines: list[Line]


def figures(results_dir: Path, wish: Wish = ALL) -> Iterator[str]:
    """Make the figures one by one; yields a line for each, for runs left out, and for each kind of which there is none.

    Raises UserError if the results cannot be read or a figure cannot be written.
    """
    runs, layout = frame.runs(results_dir), wish.layout or options_of()
    require_ours(layout.ours, runs)
    require_values(layout.where, runs)
    rows = add_costs(frame.rows(results_dir, runs["run_id"][runs["n"] > 0].tolist()))
    if not wish.metrics:  # runs that are judged by the exact posterior have a figure of their own
        rows = rows[rows.reindex(columns=[EXACT])[EXACT].isna()]
    images = frame.images(rows)
    runs = runs[runs["run_id"].isin(images)]
    if layout.where:  # an axis may then still have no run of these
        require_some(select_runs(layout, runs)[0], results_dir)
    said, taken = set[str](), set[str]()
    for kind in wish.against or KINDS:
        axis = {"rows": list(kind.named), "sweep": kind.swept}  # in which runs may differ
        selected, left_out = select_runs(layout.model_copy(update=axis), runs)
        panels = [
            panel for of_task in tasks(selected, images, results_dir, layout) for panel in fill(kind, of_task, wish)
        ]
        if left_out and panels and left_out not in said:
            said.add(left_out)
            yield left_out
        for name, of_figure in arranged(panels, wish):
            name = f"{name}-{kind.end}"
            while name in taken:  # by a task or an axis whose name differs in characters that files lack
                name += "-2"
            taken.add(name)
            yield from draw(kind, of_figure, name, wish, results_dir)
        if not panels:
            yield f"left out: {kind.content}: {kind.why_none}"


def options_of(**options: Any) -> Layout:
    """A layout of the options that tables have too. Raises UserError for a wrong one."""
    return check_layout({"title": "", "rows": ["method"], "metrics": ["psnr"], "name": "figures"}, options)


def tasks(runs: pd.DataFrame, images: frame.Images, results_dir: Path, layout: Layout) -> Iterator[TaskRuns]:
    """The runs of each data set and task in the order of tables, `ours` last."""
    order = ["method", "variant", "particles", "steps", "seed", "run_id"]
    for (dataset, task), of_task in group_runs(runs, ["dataset", "task"], layout.where):
        ordered = pd.concat([group for _, group in group_runs(of_task, order, layout.where)])
        ordered = pd.concat([ordered[ordered.method != layout.ours], ordered[ordered.method == layout.ours]])
        of_images = {run_id: images[run_id] for run_id in ordered["run_id"]}
        yield TaskRuns(str(task), str(dataset), ordered, of_images, results_dir, layout.ours)


def fill(kind: Kind, of_task: TaskRuns, wish: Wish) -> Iterator[Panel]:
    """The panels of a kind of figure for a task: those that have a line."""
    metrics = [ESS] if kind.key == "ess" else wish.metrics or [Metric.model_validate(m.name) for m in of_task.metrics]
    for metric in metrics:
        if lines := kind.lines(of_task, metric):
            yield Panel(of_task, metric, lines)


def arranged(panels: Sequence[Panel], wish: Wish) -> Iterator[tuple[str, list[Panel]]]:
    """The panels of each figure and the beginning of its name: the metrics of a task, the tasks of a metric, or one.
    Metrics that were asked for are in the name."""
    asked = "-".join(metric.name for metric in wish.metrics)
    together: dict[tuple[str, ...], list[Panel]] = {}
    for panel in panels:
        task, dataset, metric = panel.of_task.task, panel.of_task.dataset, panel.metric.name
        metric = "" if panel.metric is ESS else metric  # it is the axis too
        by = {"metric": (task, dataset, metric and asked), "task": (dataset, metric), "one": (task, dataset, metric)}
        together.setdefault(by[wish.panels], []).append(panel)
    for parts, of_figure in together.items():
        yield "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part) for part in parts if part), of_figure


def draw(kind: Kind, panels: Sequence[Panel], name: str, wish: Wish, results_dir: Path) -> list[str]:
    """Draw the panels of a figure and keep it with its caption; returns lines that say so."""
    comments = [f"% {line}" for line in caption.protocols({panel.metric: 0 for panel in panels})]
    with rc_context(plot.look(wish.looks.font, paper=wish.looks.width is not None)):
        text = " ".join(words(kind, panels))
        return keep("figure", make(kind, panels, wish), name, text, wish, results_dir, comments)


def keep(
    what: str, figure: Figure, name: str, text: str, wish: Wish, results_dir: Path, comments: Sequence[str] = ()
) -> list[str]:
    """Write a figure and, with the command that made it, its caption; returns a line with the path, and one where the
    figure of another command had this name."""
    folder = wish.looks.folder or results_dir / "figures"
    file, by = folder / f"{name}_caption.tex", printable(f"% by {wish.command}")
    path = plot.save(figure, folder, name, wish.looks.formats)
    with writing(folder):
        before = file.read_text("utf-8", "replace").partition("\n")[0] if file.exists() else by
        lines = [by, *comments, f"\\caption{{{escape_latex(text)}}}"]
        replace(file, printable("\n".join([*lines, ""])).encode())
    other = [f"replaced: the one {before.removeprefix('% ')}; out=FOLDER keeps both"] * (before != by)
    return [f"{what}: {path}", *other]


def make(kind: Kind, panels: Sequence[Panel], wish: Wish) -> Figure:
    """The figure of these panels."""
    titles = [panel.of_task.title for panel in panels]
    several = len(set(titles)) > 1
    labels = []
    for metric in (panel.metric for panel in panels):
        unit = PROTOCOLS[metric.name].unit if metric.name in PROTOCOLS else ""
        labels.append(f"{metric.label}{' [dB]' * (unit == 'dB')} {ARROWS[metric.better]}".strip())
    title = "" if several or wish.looks.width else titles[0]  # for a paper its caption says it
    figure, axes = plot.panels(labels, title, wish.looks.width)
    keys = list(dict.fromkeys((line.method, line.settings) for panel in panels for line in panel.lines))
    looks = plot.line_styles(method for method, _ in keys)
    for panel, axis in zip(panels, axes, strict=True):
        marks = []
        for line in panel.lines:
            look = looks[keys.index((line.method, line.settings))]
            dashes, label = look["dash"] or (None, None), panel.of_task.name(line.method, line.settings)
            marks.append({"color": look["colour"], "dashes": dashes, "marker": look["marker"], "label": label})
        kind.draw(axis, panel.lines, marks, panel.metric)
        if several:
            axis.set_title(plot.figure_text(display_name("task", panel.of_task.task)), fontsize=wish.looks.font)
    plot.label_lowest(axes, kind.label)
    plot.add_legend(figure)
    return figure


def words(kind: Kind, panels: Sequence[Panel]) -> Iterator[str]:
    """The sentences of a caption: what is drawn, of what, what bars are, how metrics are computed."""
    metrics = list({panel.metric.name: panel.metric for panel in panels}.values())
    estimates = [point.estimate for panel in panels for line in panel.lines for point in line.points]
    titles = dict.fromkeys(panel.of_task.title for panel in panels)
    runs = pd.concat([panel.of_task.runs for panel in panels])
    facts = [caption.images(estimates) + " each" * (kind.key == "difficulty")]
    for key in ("steps", "seed"):
        values = ", ".join(str(int(value)) for value in sorted(runs[key].unique()))
        if key == "seed":
            facts.append(seeds_text(sorted(runs[key].unique())))
        elif kind.key != "steps" and "," not in values:
            facts.append(f"{values} steps")
    label = kind.label.replace("$", "")
    yield f"{', '.join(metric.label for metric in metrics)} against {label}: {'; '.join(titles)} ({', '.join(facts)})."
    most, fewer = max((estimate.seeds for estimate in estimates), default=1), dict[str, int]()
    for panel in panels:
        for line in panel.lines:
            if (seeds := min(point.estimate.seeds for point in line.points)) < most:
                fewer[panel.of_task.name(line.method, line.settings)] = seeds
    if fewer:
        yield f"Of {most} seeds, {', '.join(f'{name} has {seeds}' for name, seeds in fewer.items())}."
    if any(estimate.se for estimate in estimates):
        sentence = caption.errors(estimates, metrics)
        yield f"Bars: {sentence[0].lower()}{sentence[1:]}."
    if kind.note:
        yield kind.note
    yield from caption.protocols(metric for metric in metrics if metric.label.endswith("*"))  # not what it is taken for


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the figures and print their paths; the exit code is 2 if results cannot be read or written."""
    parser = Options("figures", __doc__, results_dir=True)
    axes = ", ".join(kind.key for kind in KINDS)
    parser.add_argument("--metric", metavar="NAME,...", help="these metrics alone")
    parser.add_argument("--against", metavar="AXIS,...", help=f"of {axes}, or sample.<argument>")
    add_selection(parser)
    panels = "a figure for each task, a panel a metric (default); for each metric, a panel a task; or for each panel"
    parser.add_argument("--panels", choices=("metric", "task", "one"), default="metric", help=panels)
    add_looks(parser)
    options = parser.read(arguments)
    require_runs(options.results_dir)
    known = {kind.key: kind for kind in KINDS}
    keys = dict.fromkeys(options.against.split(",") if options.against else ())
    if unknown := [key for key in keys if key not in known and not key.startswith("sample.")]:
        raise UserError(f"against={unknown[0]}: no such axis; {nearest(unknown[0], known)}, or sample.<argument>")
    kinds = [known[key] if key in known else sweep_kind(key) for key in keys]
    wish = wish_of(options, "figures", arguments)
    wish = wish._replace(metrics=choose_metrics(options.metric), against=kinds, panels=options.panels)
    for line in figures(options.results_dir, wish):
        print(printable(line))
    return 0


def wish_of(options: Any, command: str, arguments: Sequence[str] | None) -> Wish:
    """The wishes that figures and samples both have options for. Raises UserError for a wrong one."""
    given = " ".join(sys.argv[1:] if arguments is None else arguments)
    layout = options_of(where=dict(map(read_filter, options.where)), ours=options.ours)
    return Wish(layout=layout, looks=read_looks(options), command=f"python -m ldsmc_bench {command} {given}".strip())


def add_looks(parser: Options) -> None:
    """The options of a picture's size, type, files and folder."""
    parser.add_argument("--width", type=float, metavar="INCHES", help="of the figure (default: the style's column)")
    parser.add_argument("--font", type=float, default=8.0, metavar="POINTS", help="size of the type (default: 8)")
    parser.add_argument(
        "--format", default=",".join(plot.FORMATS), metavar="pdf,png,svg", help="(default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(default: R/figures)")


def read_looks(options: Any) -> Looks:
    """Their values. Raises UserError for a wrong one."""
    formats = options.format.split(",")
    if unknown := [one for one in formats if one not in ("pdf", "png", "svg")]:
        raise UserError(f"format={unknown[0]}: must be pdf, png or svg, or several of them")
    width = options.width
    if width is None and options.style:
        width = PAGES[options.style].whole if options.star else PAGES[options.style].column
    for key, value, low, high in (("width", width, 1, 20), ("font", options.font, 4, 30)):
        if value is not None and not low <= value <= high:
            raise UserError(f"{key}={value:g}: must be from {low} to {high}")
    return Looks(width, options.font, formats, options.out)


if __name__ == "__main__":
    sys.exit(main())

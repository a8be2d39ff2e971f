"""The content of a table: for each row and column a mean with its standard error, its rank and its footnotes."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from ldsmc_bench.records.problems import PARTS
from ldsmc_bench.report import statistics
from ldsmc_bench.report.frame import Images
from ldsmc_bench.report.select import distinguishing_settings, group_runs, problem_settings
from ldsmc_bench.report.statistics import LEAST, LEVEL, Estimate, Power
from ldsmc_bench.report.table import with_error
from ldsmc_bench.report.tables.layout import Layout, Metric
from ldsmc_bench.text import number

Run = Mapping[str, Any]  # a row of `frame.runs`


@dataclass
class Cell:
    """`estimate` is None where there is no number; then `notes` say why, unless there is no run. `mark` is `best`,
    `second` or empty; `rank` counts from 1, where two or more are ranked, and is None of an `unfinished` cell, whose
    runs have not tried all their images; `like_best` where no test distinguishes the cell from the best of its column;
    `power` of the comparison with it, image by image."""

    estimate: Estimate | None = None
    run_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by_image: pd.Series | None = field(default=None, repr=False)  # mean over seeds, for paired tests
    mark: str = ""
    rank: int | None = None
    like_best: bool = False
    power: Power | None = None
    seeds: tuple[int, ...] = ()  # in which there is a run, done or not
    unfinished: bool = False

    @property
    def dagger(self) -> bool:
        """True where † says that a test found nothing; with very few images none can find anything."""
        return self.like_best and (self.power is None or self.power.n >= LEAST)


@dataclass(frozen=True)
class Row:
    """`block` and `key` are the values of the table's `blocks` and `keys`; cells by value of `columns` and metric.

    Rows of `ours` come last, apart; `published` ones in a block of their own.
    """

    block: tuple[Any, ...]
    key: tuple[Any, ...]
    cells: dict[tuple[Any, str], Cell]
    ours: bool = False
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A layout filled from the store; `keys` are the layout's rows and the further settings that distinguish its runs
    (`split`)."""

    layout: Layout
    runs: pd.DataFrame  # those that are shown
    keys: list[str]
    split: list[str]
    columns: list[Any]
    metrics: list[Metric]  # those of which there is a number
    rows: list[Row]
    left_out: str = ""  # a line on runs of other protocols

    @property
    def places(self) -> list[tuple[Any, str]]:
        """The keys of a row's cells, from left to right."""
        return [(value, metric.name) for value in self.columns for metric in self.metrics]

    @property
    def blocks(self) -> dict[tuple[Any, ...], list[Row]]:
        """The rows of each block, in their order."""
        return {block: list(rows) for block, rows in itertools.groupby(self.rows, lambda row: row.block)}

    @property
    def shown_keys(self) -> list[str]:
        """The columns that name a row: the first, and of the others those that vary."""
        known = [
            {row.key[i] for row in self.rows if row.key[i] is not None or not row.published}
            for i in range(len(self.keys))
        ]
        return [key for i, key in enumerate(self.keys) if i == 0 or len(known[i]) > 1]

    @property
    def has_errors(self) -> bool:
        """True if a ± is printed."""
        metrics = {metric.name: metric for metric in self.metrics}
        cells = [(metrics[name], cell) for row in self.rows for (_, name), cell in row.cells.items() if name in metrics]
        return any("±" in format_cell(self.layout, metric, cell) for metric, cell in cells)

    @cached_property
    def notes(self) -> dict[str, str]:
        """The footnotes of cells with their letters, each once, in the order of the cells."""
        cells = [row.cells[place] for row in self.rows for place in self.places if place in row.cells]
        texts = dict.fromkeys(note for cell in cells for note in cell.notes)
        return {text: letter(number) for number, text in enumerate(texts)}


def letter(number: int) -> str:
    """a to z, then aa, ab, …"""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def format_value(metric: Metric, value: float) -> str:
    """The value at the metric's digits, without a sign before zero."""
    return number(value, metric.digits)


def format_cell(layout: Layout, metric: Metric, cell: Cell) -> str:
    """`24.13 ± 0.21`, see `with_error`."""
    if cell.estimate is None:
        return with_error(None, None, metric.digits)
    error = None if layout.errors == "none" else cell.estimate.se
    return with_error(cell.estimate.value, error, metric.digits, metric.floor)


def build_table(layout: Layout, runs: pd.DataFrame, images: Images, left_out: str = "") -> Table:
    """The table of a layout from its runs (see `select_runs`), at least one. Further blocks are settings of a task or a
    data set in which runs of one name differ: their measurements are others, and no rank or test may compare them."""
    named = [name for name in layout.named if name.partition(".")[0] in PARTS]
    apart = problem_settings(runs, named, [layout.sweep or ""])
    layout = layout.model_copy(update={"blocks": [*layout.blocks, *(key for key in apart if key != "run_id")]})
    across = [layout.columns] if layout.columns else []
    split = distinguishing_settings(runs, layout.named)
    keys = [*layout.rows, *split]
    records: dict[str, Any] = {run["run_id"]: run for run in runs.to_dict("records")}
    rows: list[Row] = []
    for place, of_row in group_runs(runs, [*layout.blocks, *keys], layout.where):
        cells = {}
        for value, of_cell in group_runs(of_row, across):
            in_seeds = sorted((records[run_id] for run_id in of_cell.run_id), key=lambda run: run["seed"])
            for metric in layout.metrics:
                cells[value[0] if value else None, metric.name] = fill_cell(metric, in_seeds, images)
        ours = layout.ours is not None and layout.ours in of_row.method.to_list()
        rows.append(Row(place[: len(layout.blocks)], place[len(layout.blocks) :], cells, ours))
    note_seeds([cell for row in rows for cell in row.cells.values() if cell.estimate])
    blocks = list(dict.fromkeys(row.block for row in rows))
    rows.sort(key=lambda row: (row.ours and "method" in layout.blocks, blocks.index(row.block), row.ours))
    columns = [values[0] if values else None for values, _ in group_runs(runs, across, layout.where)]
    known = {name for row in rows for (_, name), cell in row.cells.items() if cell.estimate}
    metrics = [metric for metric in layout.metrics if metric.name in known]
    table = Table(layout, runs, keys, split, columns, metrics, rows, left_out)
    for of_block in table.blocks.values():
        for metric in metrics:
            for place in ((column, metric.name) for column in columns):
                rank(metric, [row.cells[place] for row in of_block if place in row.cells])
    return table


def note_seeds(cells: Sequence[Cell]) -> None:
    """Add a footnote to cells of other seeds than most have, of equally many the larger set."""
    sets = [cell.seeds for cell in cells]
    most = max(sets, key=lambda seeds: (sets.count(seeds), len(seeds)), default=())
    for cell in (cell for cell in cells if cell.seeds != most):
        cell.notes += (f"{seeds_text(cell.seeds)}; most rows have {seeds_text(most)}",)


def seeds_text(seeds: Iterable[Any]) -> str:
    """`seed 0`, `seeds 0, 1`."""
    numbers = [str(int(seed)) for seed in seeds]
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def fill_cell(metric: Metric, runs: Sequence[Run], images: Images) -> Cell:
    """The cell of runs that differ in their seed alone, in tables and figures. Incomplete ones are left out where there
    are complete ones."""
    used = [run for run in runs if run["complete"] and run["n"]] or runs
    notes = [
        f"seed {run['seed']} left out: {run['n']} of {run['n_requested']} images so far"
        for run in runs
        if run not in used
    ]
    said: dict[str, list[Any]] = {}
    for run in used:
        for note in _notes(run):
            said.setdefault(note, []).append(run["seed"])
    notes += [note if len(of) == len(used) else f"{seeds_text(of)}: {note}" for note, of in said.items()]
    estimate = means = None
    run_ids = tuple(run["run_id"] for run in used)
    if metric.of_sets:
        estimate = _set_estimate(metric, used)
    else:
        values = statistics.by_image(run_ids, images, metric.column) * metric.times
        table = values.dropna()
        if len(table):
            estimate, means = statistics.mean(table), table.mean(axis=1)
            lost = int(values.count().max()) - len(table)
            notes += [f"{lost} images that not every seed has are left out"] if lost else []
        elif len(values):
            notes.append("its seeds have no image in common")
    seeds, unfinished = tuple(run["seed"] for run in runs), any(map(_is_unfinished, used))
    return Cell(estimate, run_ids, tuple(dict.fromkeys(notes)), means, seeds=seeds, unfinished=unfinished)


def _is_unfinished(run: Run) -> bool:
    return bool(run["n_requested"] > run["n"] + run["n_failed"] + run["n_skipped"])


def _notes(run: Run) -> Iterator[str]:
    if run["n_skipped"]:
        reason = str(run["skipped"]).removeprefix(f"{run['method']}: ")  # the row names its method
        yield f"skipped: {reason}"
    if run["n_failed"]:
        tried = max(run["n_requested"], run["n"] + run["n_failed"])
        yield f"{run['n_failed']} of {tried} images failed, left out"
    if _is_unfinished(run):
        yield f"{run['n']} of {run['n_requested']} images so far, not ranked"


def _set_estimate(metric: Metric, runs: Sequence[Run]) -> Estimate | None:
    known = [run for run in runs if pd.notna(run.get(metric.column))]
    if not known:
        return None
    errors = [run.get(f"{metric.column}_se") for run in known]
    return statistics.set_mean(
        [run[metric.column] * metric.times for run in known],
        [None if pd.isna(error) else error * metric.times for error in errors],
        int(min(run["n"] if pd.isna(run.get("sets.n")) else run["sets.n"] for run in known)),
    )


def rank(metric: Metric, column: Sequence[Cell]) -> None:
    """Mark the cells of a column in a block, but for unfinished ones: easy images may come first. Ranks are of the
    printed numbers, tests against the very best."""
    cells = [(cell, cell.estimate) for cell in column if cell.estimate and not cell.unfinished]
    if metric.better == "none" or len(cells) < 2:
        return
    values = pd.Series([estimate.value for _, estimate in cells])
    exact, printed = (
        {"higher": -numbers, "lower": numbers, "one": (numbers - 1).abs().round(12)}[metric.better]
        for numbers in (values, values.map(lambda value: float(format_value(metric, value))))
    )
    ranks, best = printed.rank(method="dense").tolist(), exact.tolist().index(exact.min())
    tested = [i for i in range(len(cells)) if i != best and not metric.name.startswith("cost.")]
    p = statistics.holm({str(i): _p_value(*cells[i], *cells[best]) for i in tested})
    for i, (cell, _) in enumerate(cells):
        cell.rank, cell.mark = int(ranks[i]), {1.0: "best", 2.0: "second"}.get(ranks[i], "")
        cell.like_best = ranks[i] > 1 and p.get(str(i), math.nan) >= LEVEL
        if i in tested and cell.by_image is not None:
            cell.power = statistics.paired_power(cell.by_image - cells[best][0].by_image)


def _p_value(cell: Cell, estimate: Estimate, best: Cell, of_best: Estimate) -> float:
    if cell.by_image is not None and best.by_image is not None:
        return statistics.paired_p(cell.by_image, best.by_image)
    return statistics.independent_p(estimate, of_best)

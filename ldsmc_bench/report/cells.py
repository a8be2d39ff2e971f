"""A table's content: for each row and column a mean with its standard error, its rank, and what must be said of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import pandas as pd

from ldsmc_bench.report import names, statistics
from ldsmc_bench.report.choice import chosen, told_apart, values_of
from ldsmc_bench.report.frame import COUNTS
from ldsmc_bench.report.layout import Layout, Metric
from ldsmc_bench.report.statistics import LEVEL, Estimate

Run = Mapping[str, Any]  # a row of `frame.runs`
Images = Mapping[str, pd.DataFrame]  # by run id: the rows of its images that are done, by image id


@dataclass(frozen=True)
class Cell:
    """`estimate` is None where there is no number, and `notes` say why, unless there is no run; `mark` is `best`,
    `second` or nothing; `like_best` where no test tells it from the best of its column."""

    estimate: Estimate | None = None
    run_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mark: str = ""
    like_best: bool = False
    by_image: pd.Series | None = field(default=None, repr=False)  # mean over seeds, for paired tests


@dataclass(frozen=True)
class Row:
    """`block` and `key` are the values of the table's `blocks` and `keys`; cells by value of `columns` and metric."""

    block: tuple[Any, ...]
    key: tuple[Any, ...]
    cells: Mapping[tuple[Any, str], Cell]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """What a layout makes of the store; `keys` are the layout's rows and what else tells its runs apart (`split`)."""

    layout: Layout
    runs: pd.DataFrame  # those that are shown
    keys: tuple[str, ...]
    split: tuple[str, ...]
    columns: tuple[Any, ...]
    metrics: tuple[Metric, ...]  # those of which there is a number
    rows: tuple[Row, ...]

    @cached_property
    def notes(self) -> dict[str, str]:
        """The footnotes of cells with their letters, each once, in the order of the cells."""
        places = [(value, metric.name) for value in self.columns for metric in self.metrics]
        cells = [row.cells[place] for row in self.rows for place in places if place in row.cells]
        texts = dict.fromkeys(note for cell in cells for note in cell.notes)
        return {text: letter(number) for number, text in enumerate(texts)}


def letter(number: int) -> str:
    """a to z, then aa, ab, …"""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def tabulated(layout: Layout, runs: pd.DataFrame, images: Images) -> Table | None:
    """The table of a layout from all runs (see `frame.runs`); None where no run belongs to it."""
    shown = chosen(layout, runs)
    if not len(shown):
        return None
    columns = [layout.columns] if layout.columns else []
    split = told_apart(shown, [*layout.blocks, *layout.rows, *columns])
    keys = [*layout.rows, *split]
    rows, records = [], _records(layout, shown)
    for place, group in _groups(shown, [*layout.blocks, *keys]):
        cells = {}
        for value, of_column in _groups(group, columns):
            in_cell = sorted((records[run_id] for run_id in of_column.run_id), key=lambda run: run["seed"])
            for metric in layout.metrics:
                cells[value[0] if value else None, metric.name] = _cell(metric, in_cell, images)
        rows.append(Row(place[: len(layout.blocks)], place[len(layout.blocks) :], cells))
    metrics = tuple(m for m in layout.metrics if any(_has(row, m) for row in rows))
    values = (
        sorted(values_of(shown, columns[0]), key=lambda value: names.order(columns[0], value)) if columns else [None]
    )
    table = Table(layout, shown, tuple(keys), tuple(split), tuple(values), metrics, tuple(rows))
    return replace(table, rows=tuple(ranked(table)))


def ranked(table: Table) -> Iterator[Row]:
    """The rows with best and second of each column, of those in a block, and which are not distinguishable from the
    best."""
    for block in dict.fromkeys(row.block for row in table.rows):
        rows = [row for row in table.rows if row.block == block]
        marked: list[dict[tuple[Any, str], Cell]] = [dict(row.cells) for row in rows]
        for metric in table.metrics:
            for value in table.columns:
                column = [row.get((value, metric.name)) for row in marked]
                for row, cell in zip(marked, _ranked(metric, column), strict=True):
                    if cell is not None:
                        row[value, metric.name] = cell
        yield from (replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True))


def printed(metric: Metric, value: float) -> str:
    """The value at the metric's digits, without a sign before zero."""
    text = f"{value:.{metric.digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _groups(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The runs by their values of `keys`, in the order in which names and numbers are best read."""
    if not keys:
        yield (), runs
        return
    groups = {
        tuple(None if pd.isna(value) else value for value in cast(tuple[Any, ...], place)): group
        for place, group in runs.groupby(list(keys), dropna=False, sort=False)
    }
    for place in sorted(groups, key=lambda place: [names.order(k, v) for k, v in zip(keys, place, strict=True)]):
        yield place, groups[place]


def _has(row: Row, metric: Metric) -> bool:
    return any(name == metric.name and cell.estimate is not None for (_, name), cell in row.cells.items())


def _records(layout: Layout, runs: pd.DataFrame) -> dict[str, Run]:
    """What cells read of their runs, by run id."""
    sets = [metric.column for metric in layout.metrics if metric.of_sets]
    wanted = ["run_id", "seed", *COUNTS, "sets.n", *sets, *(f"{column}_se" for column in sets)]
    known = runs[[name for name in wanted if name in runs]].to_dict("records")
    return {run["run_id"]: cast(Run, run) for run in known}


def _cell(metric: Metric, runs: Sequence[Run], images: Images) -> Cell:
    """The runs, one for each seed, in one cell."""
    used = [run for run in runs if run["complete"] and run["n"]] or runs
    notes = [
        f"seed {run['seed']} left out: {run['n']} of {run['n_requested']} images so far"
        for run in runs
        if run not in used
    ]
    for run in used:
        notes += _of_run(run, several=len(used) > 1)
    estimate, by_image = None, None
    if metric.of_sets:
        estimate = _of_sets(metric, used)
    else:
        estimate, by_image, more = _of_images(metric, used, images)
        notes += more
    run_ids = tuple(run["run_id"] for run in used)
    return Cell(estimate, run_ids, tuple(dict.fromkeys(notes)), by_image=by_image)


def _of_run(run: Run, several: bool) -> Iterator[str]:
    seed = f"seed {run['seed']}: " if several else ""
    if run["n_skipped"]:
        yield f"{seed}skipped: {run['skipped']}"
    if run["n_failed"]:
        tried = max(run["n_requested"], run["n"] + run["n_failed"])
        yield f"{seed}{run['n_failed']} of {tried} images failed, left out"
    missing = run["n_requested"] - run["n"] - run["n_failed"] - run["n_skipped"]
    if missing > 0:
        yield f"{seed}{run['n']} of {run['n_requested']} images so far"


def _of_images(
    metric: Metric, runs: Sequence[Run], images: Images
) -> tuple[Estimate | None, pd.Series | None, list[str]]:
    tables = [images[run["run_id"]] for run in runs if run["run_id"] in images]
    seeds = [table[metric.column].dropna() * metric.times for table in tables if metric.column in table]
    seeds = [values for values in seeds if len(values)]
    if not seeds:
        return None, None, []
    table = pd.concat(seeds, axis=1, join="inner")
    if not len(table):
        return None, None, ["its seeds have no image in common"]
    lost = max(map(len, seeds)) - len(table)
    notes = [f"{lost} images that not every seed has are left out"] if lost else []
    return statistics.mean(table), table.mean(axis=1), notes


def _of_sets(metric: Metric, runs: Sequence[Run]) -> Estimate | None:
    known = [run for run in runs if pd.notna(run.get(metric.column))]
    if not known:
        return None
    values = [run[metric.column] * metric.times for run in known]
    errors = [run.get(f"{metric.column}_se") for run in known]
    sizes = [run["n"] if pd.isna(run.get("sets.n")) else run["sets.n"] for run in known]
    found = [None if error is None or pd.isna(error) else error * metric.times for error in errors]
    return statistics.set_mean(values, found, int(min(sizes)))


def _ranked(metric: Metric, column: Sequence[Cell | None]) -> list[Cell | None]:
    """A column of a block with its marks. Ranks are of the printed numbers; tests are against the very best."""
    values = [cell.estimate.value if cell and cell.estimate else math.nan for cell in column]
    if metric.better == "none" or sum(not math.isnan(value) for value in values) < 2:
        return list(column)
    exact = [_rank(metric, value) for value in values]
    ranks = [_rank(metric, float(printed(metric, value))) for value in values]
    first, *others = sorted({rank for rank in ranks if not math.isnan(rank)})
    best = min(range(len(exact)), key=lambda i: (math.isnan(exact[i]), exact[i]))
    marks = {first: "best", **({others[0]: "second"} if others else {})}
    p = {}
    for i, cell in enumerate(column):
        if cell and cell.estimate and i != best and not metric.name.startswith("cost."):
            p[str(i)] = _p(cell, column[best])
    adjusted = statistics.holm(p)
    return [
        cell
        and replace(
            cell,
            mark=marks.get(ranks[i], ""),
            like_best=ranks[i] != first and adjusted.get(str(i), math.nan) >= LEVEL,
        )
        for i, cell in enumerate(column)
    ]


def _rank(metric: Metric, value: float) -> float:
    """Smaller is better."""
    return {"higher": -value, "lower": value, "one": round(abs(value - 1), 12)}[metric.better]


def _p(cell: Cell, best: Cell | None) -> float:
    assert best is not None and cell.estimate is not None and best.estimate is not None
    if cell.by_image is not None and best.by_image is not None:
        return statistics.paired_p(cell.by_image, best.by_image)
    return statistics.independent_p(cell.estimate, best.estimate)

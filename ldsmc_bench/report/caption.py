"""What stands under a table: what was run, what ± and the marks mean, and why cells are empty."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ldsmc_bench.report import names
from ldsmc_bench.report.cells import Cell, Row, Table
from ldsmc_bench.report.choice import values_of
from ldsmc_bench.report.layout import Metric
from ldsmc_bench.report.statistics import LEVEL
from ldsmc_bench.scoring.protocols import PROTOCOLS

PUBLISHED = (
    "Grey: numbers of arXiv 2502.05908, on other images, ranked with nothing; it tells neither how its FID was "
    "computed nor on which network its LPIPS."
)
FEWEST = 6  # images that a signed-rank test needs before it can reach the level at all
SAID = {"dataset": "data set {}", "prior": "prior {}", "steps": "{} steps", "particles": "{} particles"}
SAID |= {"variant": "variant {}", "task": "task {}", "task.noise_std": "noise {}", "precision": "{}"}


def caption(table: Table) -> list[str]:
    """The sentences of the caption; ±, † and so on as they are, to be escaped by whoever typesets them."""
    return [
        f"{table.layout.title.rstrip('.')}.",
        _what_was_run(table),
        *_plus_minus(table),
        *_parts(table),
        *_marks(table),
        *_empty(table),
        *([PUBLISHED] if any(row.published for row in table.rows) else []),
        *_protocols(table),
    ]


def choices(table: Table) -> list[str]:
    """For runs that only their settings tell apart: which is which, by run id."""
    if not table.split:
        return []
    said = f"Rows are told apart by {_listed(table.split)}; `runs` in {table.layout.name}.yaml chooses among them:"
    return [
        said,
        *(f"{label(table, row)}: {_listed(_run_ids(table, row))}." for row in table.rows if not row.published),
    ]


def label(table: Table, row: Row) -> str:
    """What names a row in a sentence: `box inpainting, LD-SMC, particles 5`."""
    keys = [*table.layout.blocks, *table.keys]
    values = [*row.block, *row.key]
    words = [
        names.called(key, value)
        if key in ("method", "task", "dataset")
        else f"{key.split('.')[-1]} {names.called(key, value)}"
        for key, value in zip(keys, values, strict=True)
        if value is not None
    ]
    return ", ".join(words)


def _what_was_run(table: Table) -> str:
    runs, shown = table.runs, {*table.keys, *table.layout.blocks, table.layout.columns}
    facts = []
    for key, words in SAID.items():
        if key in shown or key not in runs or not (values := [v for v in values_of(runs, key) if v is not None]):
            continue
        if len(values) > 4:
            facts.append(f"{words.format(key.split('.')[-1]).replace(key, 'several')}")
            continue
        values = sorted(values, key=lambda value: names.order(key, value))
        facts.append(words.format(_listed([names.called(key, value) for value in values])))
    sizes = {cell.estimate.n for cell in _cells(table) if cell.estimate}
    seeds = sorted({int(seed) for seed in runs.seed})
    facts.append(f"N = {_range(sizes)} images" if sizes else "no image")
    facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {_listed(map(str, seeds))}")
    sentence = ", ".join(facts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _plus_minus(table: Table) -> Iterator[str]:
    """What ± means, as far as this table shows any."""
    several = any(cell.estimate.seeds > 1 for cell in _cells(table) if cell.estimate)
    with_error = [m for m in table.metrics if any(c.estimate and c.estimate.se for c in _cells(table, m))]
    if of_images := [metric for metric in with_error if not metric.of_sets]:
        which = "" if len(of_images) == len(with_error) else f" ({_listed(m.label for m in of_images)})"
        yield f"Mean ± one standard error over images{' and seeds' if several else ''}{which}."
    if of_sets := [metric for metric in with_error if metric.of_sets]:
        over = "bootstrap over images; over seeds, the spread of their values" if several else "bootstrap over images"
        yield f"{_listed(m.label for m in of_sets)}: ± one standard error, {over}."


def _parts(table: Table) -> Iterator[str]:
    """Of a table of several seeds: how much of ± comes from where."""
    said = []
    for metric in table.metrics:
        estimates = [c.estimate for c in _cells(table, metric) if c.estimate and c.estimate.seeds > 1]
        parts = [(e.images, e.of_seeds, e.rest) for e in estimates if e.se]
        if parts:
            words = ("between images", "between seeds", "interaction")
            roots = [_root_mean_square(values) for values in zip(*parts, strict=True)]
            shown = [f"{_printed_finely(metric, r)} {w}" for w, r in zip(words, roots, strict=True) if r is not None]
            said.append(f"{metric.label} {', '.join(shown)}")
    if said:
        yield f"Parts of the standard error, which add in squares (root mean square over the cells): {'; '.join(said)}."


def _marks(table: Table) -> Iterator[str]:
    if any(cell.mark for cell in _cells(table)):
        within = " of each block" if table.layout.blocks else ""
        yield f"Best in bold, second underlined, in each column{within}; what prints equal is marked alike."
    alike = [metric for metric in table.metrics if any(cell.like_best for cell in _cells(table, metric))]
    if not alike:
        return
    of_sets = [metric.label for metric in alike if metric.of_sets]
    of_images = [metric.label for metric in alike if not metric.of_sets]
    how = []
    if of_images:
        how.append("Wilcoxon signed-rank test on the images that both have")
    if of_sets:
        stored = "normal test with the bootstrap standard errors as if independent, which is cautious for paired images"
        how.append(f"{_listed(of_sets)}: {stored}" if of_images else stored)
    yield f"† not distinguishable from the best ({'; '.join(how)}; Holm over the column, level {LEVEL})."
    if of_images and min(cell.estimate.n for cell in _cells(table) if cell.estimate) < FEWEST:
        yield f"With fewer than {FEWEST} images that test finds no difference, whatever there is."


def _empty(table: Table) -> Iterator[str]:
    own = [row for row in table.rows if not row.published]
    cells = [row.cells.get((value, m.name), Cell()) for row in own for value in table.columns for m in table.metrics]
    empty = [cell for cell in cells if cell.estimate is None]
    if empty:
        no_run = sum(not cell.run_ids for cell in empty)
        of_them = f", {no_run} of them without a run" if no_run else ""
        yield f"-- no number: {len(empty)} of {len(cells)} cells{of_them}."
    if absent := [metric.label for metric in table.layout.metrics if metric not in table.metrics]:
        yield f"No run has {_listed(absent)}."


def _protocols(table: Table) -> Iterator[str]:
    for metric in table.metrics:
        if (protocol := PROTOCOLS.get(metric.name)) is not None:
            yield f"{metric.label}: {protocol.how}."


def _cells(table: Table, metric: Metric | None = None) -> list[Cell]:
    rows = [row for row in table.rows if not row.published]
    shown = [m.name for m in table.metrics] if metric is None else [metric.name]
    return [cell for row in rows for (_, name), cell in row.cells.items() if name in shown]


def _run_ids(table: Table, row: Row) -> list[str]:
    return sorted({run_id for cell in row.cells.values() for run_id in cell.run_ids})


def _root_mean_square(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.sqrt(math.fsum(value * value for value in known) / len(known)) if known else None


def _printed_finely(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits + 1}f}"


def _range(sizes: Iterable[int]) -> str:
    low, high = min(sizes := list(sizes)), max(sizes)
    return str(low) if low == high else f"{low} to {high}"


def _listed(words: Iterable[Any]) -> str:
    words = [str(word) for word in words]
    return ", ".join(words)

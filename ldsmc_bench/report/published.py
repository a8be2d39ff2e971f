"""Published numbers beside ours: those of the LD-SMC paper's tables, in `published.csv`, each with its source.

Their metrics stand under the names of ours that come nearest: the paper tells neither which FID nor which LPIPS network
it used. Memory is in GB there; other units are those of scoring/protocols.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ldsmc_bench.report import names
from ldsmc_bench.report.cells import Cell, Row, Table
from ldsmc_bench.report.statistics import Estimate

FILE = Path(__file__).with_name("published.csv")


def with_published(table: Table) -> Table:
    """The table with a row of published numbers after ours of the same method and particles, or at the block's end.

    Only problems that the table shows are looked up, and tables of sweeps stay as they are.
    """
    numbers = pd.read_csv(FILE)
    numbers = numbers[numbers.dataset.isin(table.runs.dataset) & numbers.task.isin(table.runs.task)]
    for key, wanted in table.layout.runs.items():
        if key in numbers:
            numbers = numbers[numbers[key].isin(wanted if isinstance(wanted, list) else [wanted])]
    said = [*table.layout.blocks, *table.layout.rows, *([table.layout.columns] if table.layout.columns else [])]
    alone = numbers.dataset.nunique() == 1 or "dataset" in said
    if table.layout.sweep is not None or not alone or not {"method", "particles"} <= {*said}:
        return table
    return replace(table, rows=tuple(_merged(table, _rows(table, numbers))))


def _rows(table: Table, numbers: pd.DataFrame) -> dict[tuple[Any, ...], Row]:
    """By block, method and particles."""
    rows: dict[tuple[Any, ...], Row] = {}
    metrics = {metric.name for metric in table.metrics}
    for number in numbers.to_dict("records"):
        column = number.get(table.layout.columns) if table.layout.columns else None
        block = tuple(number.get(key) for key in table.layout.blocks)
        if number["metric"] not in metrics or column not in table.columns:
            continue
        place = (*block, number["method"], number["particles"])
        key = tuple(number.get(name) for name in table.keys)
        row = rows.setdefault(place, Row(block, key, {}, published=True))
        estimate = Estimate(number["value"], None, 0, 0)
        rows[place] = replace(row, cells={**row.cells, (column, number["metric"]): Cell(estimate)})
    return rows


def _merged(table: Table, published: dict[tuple[Any, ...], Row]) -> Iterator[Row]:
    at = {key: table.keys.index(key) for key in ("method", "particles")}
    for block in dict.fromkeys(row.block for row in table.rows):
        ours = [row for row in table.rows if row.block == block]
        places = [(*block, *(row.key[i] for i in at.values())) for row in ours]
        for i, row in enumerate(ours):
            yield row
            if places[i] in published and places[i] not in places[i + 1 :]:
                yield published.pop(places[i])
        others = [place for place in published if place[: len(block)] == block]
        for place in sorted(others, key=lambda p: (names.order("method", p[-2]), p[-1])):
            yield published.pop(place)

"""Published numbers beside ours: those of the LD-SMC paper's tables, in `published.csv`, each with its source.

They are shown under our nearest metrics: the paper names neither its FID nor its LPIPS network. Memory is in GB there;
other units are those of conf/metrics.yaml.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ldsmc_bench.report.select import sort_key
from ldsmc_bench.report.statistics import Estimate
from ldsmc_bench.report.tables.content import Cell, Row, Table

FILE = Path(__file__).with_name("published.csv")


def with_published(table: Table) -> Table:
    """The table with published numbers at the end of each block.

    Only problems that the table shows are looked up, and tables of sweeps stay as they are.
    """
    layout, numbers = table.layout, pd.read_csv(FILE)
    numbers = numbers[numbers.dataset.isin(table.runs.dataset) & numbers.task.isin(table.runs.task)]
    for key, wanted in layout.where.items():
        if key in numbers:
            numbers = numbers[numbers[key].isin(wanted)]
    named = set(layout.named)
    alone = numbers.dataset.nunique() == 1 or "dataset" in named
    if layout.sweep is not None or not alone or not {"method", "particles"} <= named:
        return table
    places, published = set(table.places), dict[tuple[Any, ...], Row]()
    for number in numbers.to_dict("records"):
        place = number.get(layout.columns) if layout.columns else None, number["metric"]
        block, own = (tuple(number.get(name) for name in names) for names in (layout.blocks, table.keys))
        if place in places and block in table.blocks:
            row = published.setdefault((block, own), Row(block, own, {}, published=True))
            row.cells[place] = Cell(Estimate(number["value"], None, 0, 0))
    blocks, rows = list(table.blocks), [*table.rows, *published.values()]

    def position(row: Row) -> tuple[Any, ...]:  # the sort is stable: ours stay as they are
        by_name = map(sort_key, table.keys, row.key) if row.published else ()
        return blocks.index(row.block), row.published, *by_name

    return replace(table, rows=sorted(rows, key=position))

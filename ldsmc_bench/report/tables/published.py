"""Published numbers beside ours: those of the LD-SMC paper's tables, in `published.csv`, each with its source.

They are shown under our nearest metrics: the paper names neither its FID nor its LPIPS network. Memory is in GB there;
other units are those of conf/metrics.yaml.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ldsmc_bench.report.select import sort_key
from ldsmc_bench.report.statistics import Estimate
from ldsmc_bench.report.tables.content import Cell, Row, Table

FILE = Path(__file__).with_name("published.csv")


def with_published(table: Table) -> Table:
    """The table with a row of published numbers after ours of the same method and particles, or at the block's end.

    Only problems that the table shows are looked up, and tables of sweeps stay as they are.
    """
    layout, numbers = table.layout, pd.read_csv(FILE)
    numbers = numbers[numbers.dataset.isin(table.runs.dataset) & numbers.task.isin(table.runs.task)]
    for key, wanted in layout.runs.items():
        if key in numbers:
            numbers = numbers[numbers[key].isin(wanted if isinstance(wanted, list) else [wanted])]
    named = {*layout.blocks, *layout.rows, layout.columns}
    alone = numbers.dataset.nunique() == 1 or "dataset" in named
    if layout.sweep is not None or not alone or not {"method", "particles"} <= named:
        return table
    blocks, places, published = list(table.blocks), set(table.places), dict[tuple[Any, ...], Row]()
    for number in numbers.to_dict("records"):
        place = number.get(layout.columns) if layout.columns else None, number["metric"]
        block, own = (tuple(number.get(name) for name in names) for names in (layout.blocks, table.keys))
        if place in places and block in blocks:
            row = published.setdefault((block, own), Row(block, own, {}, published=True))
            row.cells[place] = Cell(Estimate(number["value"], None, 0, 0))
    method, particles = (table.keys.index(name) for name in ("method", "particles"))
    last = {(row.block, row.key[method], row.key[particles]): i for i, row in enumerate(table.rows)}
    order = {id(row): i for i, row in enumerate(table.rows)}

    def position(row: Row) -> tuple[Any, ...]:
        after = last.get((row.block, row.key[method], row.key[particles]), math.inf)
        by_name = (sort_key("method", row.key[method]), row.key[particles]) if row.published else ()
        return blocks.index(row.block), order.get(id(row), after), row.published, *by_name

    return replace(table, rows=sorted([*table.rows, *published.values()], key=position))

"""The leaderboard of the page: runs in their seeds, ranked and tested as in the tables, and the differences of two."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ldsmc_bench.report.frame import IDENTITY, Images
from ldsmc_bench.report.page.data import plain
from ldsmc_bench.report.select import display_name, group_runs, join_label, label_runs, problem_text
from ldsmc_bench.report.statistics import by_image, estimate_interval, mean
from ldsmc_bench.report.tables.content import Cell, Row, Table, build_table
from ldsmc_bench.report.tables.layout import Layout

RIVALS = ["problem", "steps", "n_requested", "split"]  # runs that are equal in these share a board
MOST = 40  # rows of a problem of which any two are compared
MARKS = {"": 0, "best": 1, "second": 2}


@dataclass(frozen=True)
class Entry:
    """A row of a board: runs that differ in their seed alone, and their cells by metric."""

    board: int
    problem: str
    runs: pd.DataFrame
    cells: Mapping[str, Cell]
    name: str
    settings: str

    @property
    def counted(self) -> list[str]:
        """The runs whose means are shown: complete ones, where there are any."""
        return list(next(iter(self.cells.values())).run_ids)


def boards(runs: pd.DataFrame, images: Images, columns: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Entry]]:
    """The labels of the boards and the rows of all, in order of method; the board with most images comes first.

    A board has the runs that tables let compete: on one problem, with equal steps, numbers of images and split.
    `columns` are those of the page.
    """
    if runs.empty:
        return [], []
    metrics = [one["key"] if not one.get("cost") else _cost(one) for one in columns]
    layout = Layout.model_validate({"name": "page", "title": "", "rows": ["method", "particles"], "metrics": metrics})
    runs = runs.assign(n_images=runs["n_requested"], problem=[problem_text(one) for one in runs[IDENTITY]])
    groups = [group for _, group in runs.groupby(RIVALS, dropna=False, sort=False)]
    groups.sort(key=lambda group: -int(group["n"].sum()))  # stable: by run id otherwise
    entries: list[Entry] = []
    for number, group in enumerate(groups):
        table, names = build_table(layout, group, images), label_runs(group, ["seed"])
        of_run = dict(zip(group["run_id"], names, strict=True))
        for row, mine in _with_runs(table):
            method, settings = mine["method"].iloc[0], of_run[mine["run_id"].iloc[0]]
            label = join_label("", settings).strip()
            cells = {name: cell for (_, name), cell in row.cells.items()}
            entries.append(Entry(number, mine["problem"].iloc[0], mine, cells, display_name("method", method), label))
    return _labels([group.iloc[[0]] for group in groups]), entries


def lines(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The rows for the page. `n` counts images, each once in all seeds. `values` has by column the mean, its standard
    error, rank, mark (1 best, 2 second), 1 where no test distinguishes it from the best, and the numbers of images and
    of seeds; None where unknown."""
    return [
        {
            "board": entry.board,
            "runs": entry.runs.sort_values("seed")["run_id"].tolist(),
            "counted": len(entry.counted),
            "method": str(entry.runs["method"].iloc[0]),
            "settings": entry.settings,
            "n": max((cell.estimate.n for cell in entry.cells.values() if cell.estimate), default=0),
            "asked": int(entry.runs[["n_requested", "n"]].to_numpy().max()),
            "skipped": next(iter(entry.runs["skipped"].dropna()), None),
            "notes": list(dict.fromkeys(note for cell in entry.cells.values() for note in cell.notes)),
            "values": {name: _values(cell) for name, cell in entry.cells.items() if cell.estimate},
        }
        for entry in entries
    ]


def differences(entries: Sequence[Entry], images: Images, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By the numbers of two rows, `3 5`, and by metric: the mean difference, the ends of its 95 % interval, the numbers
    of common images and seeds, and of images on which the first row is better, and the second. Rows beyond the first 40
    of a problem have none."""
    by_problem: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        by_problem[entry.problem].append(number)
    found: dict[str, Any] = defaultdict(dict)
    for metric in (one for one in metrics if not one["set"] and not one.get("cost") and one["better"] != "none"):
        for numbers in by_problem.values():
            tables = _by_seed({number: entries[number] for number in numbers[:MOST]}, images, metric["key"])
            for (a, first), (b, second) in combinations(tables.items(), 2):
                difference = first - second
                seeds = ~np.isnan(difference).all(axis=0)
                common = ~np.isnan(difference[:, seeds]).any(axis=1)
                if seeds.any() and common.any():
                    estimate = mean(pd.DataFrame(difference[common][:, seeds]))
                    merits = [_merit(metric["better"], one[common][:, seeds].mean(axis=1)) for one in (first, second)]
                    better = [int((merits[0] > merits[1]).sum()), int((merits[0] < merits[1]).sum())]
                    ends = [plain(end) for end in estimate_interval(estimate)]
                    found[f"{a} {b}"][metric["key"]] = [*ends, estimate.n, estimate.seeds, *better]
    return found


def _merit(better: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if better == "higher" else -values if better == "lower" else -np.abs(values - 1)


def _by_seed(entries: Mapping[int, Entry], images: Images, name: str) -> dict[int, NDArray[np.float64]]:
    """The values of a metric of each row, the same images by the same seeds, NaN where there is none."""
    tables = {}
    for number, entry in entries.items():
        seeds = dict(zip(entry.runs["run_id"], entry.runs["seed"], strict=True))
        tables[number] = by_image(entry.counted, images, name).rename(columns=seeds)
    ids = sorted({image_id for table in tables.values() for image_id in table.index})
    columns = sorted({seed for table in tables.values() for seed in table.columns})
    return {number: table.reindex(index=ids, columns=columns).to_numpy(float) for number, table in tables.items()}


def _with_runs(table: Table) -> Iterator[tuple[Row, pd.DataFrame]]:
    """The rows of a table with their runs, those too that no mean counts."""
    for row, (_, of_row) in zip(table.rows, group_runs(table.runs, table.keys), strict=True):
        yield row, of_row


def _values(cell: Cell) -> list[Any]:
    estimate = cell.estimate
    assert estimate is not None
    error = None if estimate.se is None else plain(estimate.se)
    return [plain(estimate.value), error, cell.rank, MARKS[cell.mark], int(cell.dagger), estimate.n, estimate.seeds]


def _cost(column: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": column["key"], "label": column["label"], "digits": column["digits"]}


def _labels(firsts: Sequence[pd.DataFrame]) -> list[str]:
    """A label for each board from one of its runs; boards on one task and data set differ in what the label names."""
    runs = pd.concat(firsts, ignore_index=True)
    other = [name for name in map(str, runs) if name.partition(".")[0] in ("sample", "method", "prior")]
    ignored = [*other, "variant", "steps", "particles", "precision"]
    labels = [""] * len(runs)
    for _, group in runs.groupby(["task", "dataset"]):
        differing = label_runs(group.assign(method=""), ignored)
        for i, settings in zip(group.index, differing, strict=True):
            run = group.loc[i]
            count, steps = int(run["n_requested"]), int(run["steps"])
            parts = [display_name("task", run["task"]), display_name("dataset", run["dataset"])]
            parts += [f"{key}={value}" for key, value in settings.items() if key != "seed"]
            parts += [f"{steps} step{'s' * (steps != 1)}", f"{count} image{'s' * (count != 1)}"]
            labels[i] = " · ".join([*parts, *([str(run["split"])] if pd.notna(run["split"]) else [])])
    return labels

"""What the page knows: of every run its labels and means, and in a file of its own its rows and curves."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ldsmc_bench.report import figures_data
from ldsmc_bench.report.figures_data import AXES, half_interval, name_of, passes, shown, told_apart
from ldsmc_bench.report.names import called

LABELS = ("run_id", "method", "variant", "task", "dataset", "prior", "steps", "particles", "seed")
SORTED = ("task", "dataset", "method", "steps", "particles", "seed")
COUNTS = ("n", "n_failed", "n_skipped", "n_requested")
COSTS = (
    {"key": "seconds", "label": "s/image", "digits": 2, "how": "seconds per image, on the machine that ran it"},
    {"key": "passes", "label": "passes", "digits": 0, "how": figures_data.PASSES},
)
LONGEST = 200  # points of a curve over the steps


def columns(rows: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The numbers that a run may have: its metrics by their protocols, and what it costs."""
    metrics = [
        {
            "key": protocol.name,
            "label": protocol.label,
            "unit": protocol.unit,
            "better": protocol.better,
            "digits": protocol.digits,
            "set": protocol.per == "set",
            "how": protocol.how,
        }
        for protocol in shown(rows, runs)
    ]
    return metrics + [{**cost, "unit": "", "better": "lower", "set": False, "cost": True} for cost in COSTS]


def run_lines(runs: pd.DataFrame, rows: pd.DataFrame, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """One object for each run, by task and method; `problems` has the key of each run's problem.

    `name` tells a run from all others on its task and data set, `short` from those on the same measurements; `settings`
    is what its labels do not say of it.

    `values` holds by column the mean, its standard error and half its 95 % interval (of a set metric, by bootstrap);
    `curve` by axis the number of the curve that the run is a point of, its place there, and what the curve is called.
    """
    known = [column["key"] for column in columns(rows, runs)]
    of_run = {str(run_id): mine for run_id, mine in rows.groupby("run_id")}
    if runs.empty:
        return []
    of_problem = pd.Series([problems.get(i, f"{i} alone") for i in runs["run_id"]], index=runs.index)
    names, shorts = _names(runs, runs["task"] + " " + runs["dataset"]), _names(runs, of_problem)
    lines = []
    for _, run in runs.sort_values([*SORTED, "run_id"]).iterrows():
        run_id = str(run["run_id"])
        line: dict[str, Any] = {key: plain(run[key]) for key in (*LABELS, *COUNTS)}
        name, more = names[run_id]
        line |= {"skipped": plain(run["skipped"]), "problem": problems.get(run_id)}
        line |= {"name": name, "settings": more, "short": shorts[run_id][0]}
        mine = of_run.get(run_id, rows.iloc[:0])
        line["values"] = {key: value for key in known if (value := _value(mine, run, key)) is not None}
        line["curve"] = {}
        lines.append(line)
    by_id = {line["run_id"]: line for line in lines}
    for axis in AXES:
        for number, (label, curve) in enumerate(figures_data.curves(runs, axis)):
            for _, run in curve.iterrows():
                by_id[run["run_id"]]["curve"][axis] = [number, plain(run[axis]), label]
    return lines


def images(rows: pd.DataFrame, keys: Iterable[str]) -> dict[str, Any]:
    """The rows of one run, column by column: `ids`, `lost` (by place in `ids`: status and reason), `values`."""
    lost = {i: [row.status, row.error] for i, row in enumerate(rows.itertuples()) if row.status != "ok"}
    values = {key: [plain(value) for value in rows[key]] for key in keys if key in rows and rows[key].notna().any()}
    return {"ids": rows["image_id"].tolist(), "lost": lost, "values": values}


def steps(diagnostics: pd.DataFrame) -> dict[str, Any]:
    """Curves over a run's steps, by diagnostic: `step`, `mean`, `low`, `high` (5 % and 95 % of the images)."""
    curves = {}
    for name, curve in diagnostics.groupby("name"):
        thin = curve.iloc[np.unique(np.linspace(0, len(curve) - 1, min(LONGEST, len(curve))).astype(int))]
        parts = {"step": "step", "mean": "mean", "low": "q05", "high": "q95"}
        curves[str(name)] = {key: [plain(value) for value in thin[column]] for key, column in parts.items()}
    return curves


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with their costs by the page's names."""
    return rows.assign(passes=passes(rows), seconds=rows.get("cost.seconds", math.nan))


def plain(value: Any) -> Any:
    """A value for JSON: numbers to five significant digits, None for what is not there."""
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return None
    if isinstance(value, float | np.floating):
        value = float(f"{value:.5g}")
        return int(value) if value.is_integer() else value
    return value.item() if isinstance(value, np.generic) else value


def script(value: object) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("</", "<\\/")


def _value(rows: pd.DataFrame, run: pd.Series, key: str) -> list[Any] | None:
    if f"sets.{key}" in run:
        value, low, high = figures_data.of_set(run, key)
        found = [value, run.get(f"sets.{key}_se"), (high - low) / 2]
    else:
        values = rows.loc[rows["status"] == "ok", key].dropna() if key in rows else pd.Series(dtype=float)
        if values.empty:
            return None
        found = [values.mean(), values.std() / math.sqrt(len(values)), half_interval(values)]
    return [plain(number) for number in found] if plain(found[0]) is not None else None


def _names(runs: pd.DataFrame, groups: pd.Series) -> dict[str, tuple[str, str]]:
    """By run id, a name that no other run of its group has, and the part of it that no column of the table tells."""
    names = {}
    for _, group in runs.groupby(groups):
        for run_id, method, said in zip(group["run_id"], group["method"], told_apart(group), strict=True):
            more = {key: value for key, value in said.items() if key not in ("variant", "N", "steps", "seed", "prior")}
            names[str(run_id)] = (
                name_of(called("method", method), said),
                " ".join(f"{key}={value}" for key, value in more.items()),
            )
    return names

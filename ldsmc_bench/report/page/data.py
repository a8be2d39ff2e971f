"""The data of the page: labels and means of every run, and in a file of its own the rows and curves of each."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ldsmc_bench.report.figures.kinds import AXES
from ldsmc_bench.report.frame import RUN, Images
from ldsmc_bench.report.select import curves, display_name, join_label, label_runs
from ldsmc_bench.report.statistics import PASSES, by_image, interval, metrics_of

COUNTS = ("n", "n_failed", "n_skipped", "n_requested")
SORTED = ["task", "dataset", "method", "steps", "particles", "seed", "run_id"]
COSTS = (
    {"key": "seconds", "label": "s/image", "digits": 2, "how": "seconds per image, on the machine that ran it"},
    {"key": "passes", "label": "passes", "digits": 0, "how": PASSES},
)
LONGEST = 200  # points of a curve over the steps


def columns(images: Images, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The numbers that a run may have: its metrics by their protocols, and its cost."""
    metrics = [
        {"key": metric.name, "set": metric.per == "set"}
        | {key: getattr(metric, key) for key in ("label", "unit", "better", "digits", "how")}
        for metric in metrics_of(images, runs)
    ]
    return metrics + [{**cost, "unit": "", "better": "lower", "set": False, "cost": True} for cost in COSTS]


def run_lines(runs: pd.DataFrame, images: Images, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """One object for each run, by task and method; `problems` has the key of each run's problem.

    `name` is unique among the runs on the run's task and data set, `short` among those on its measurements; `settings`
    are the parts of `name` that no label has. `values` holds by column the mean, its standard error and the ends of its
    95 % interval (of a set metric, both by bootstrap); `curve` by axis the number of the run's curve, its place there,
    and the curve's label.
    """
    of_problem = pd.Series([problems.get(i, f"{i} alone") for i in runs["run_id"]], index=runs.index, dtype=object)
    whole, short = _names(runs, runs["task"] + " " + runs["dataset"]), _names(runs, of_problem)
    shown = columns(images, runs)
    lines: dict[str, dict[str, Any]] = {}
    for i in runs.sort_values(SORTED).index:
        one, run = runs.loc[[i]], runs.loc[i]
        run_id = str(run["run_id"])
        values = {column["key"]: _value(one, images, column) for column in shown}
        lines[run_id] = {
            **{key: plain(run[key]) for key in (*RUN, *COUNTS, "skipped")},
            "problem": problems.get(run_id),
            "name": whole[run_id][0],
            "settings": whole[run_id][1],
            "short": short[run_id][0],
            "values": {key: value for key, value in values.items() if value[0] is not None},
            "curve": {},
        }
    for axis in AXES:
        for number, (label, curve) in enumerate(curves(runs, axis)):
            for run_id, place in zip(curve["run_id"], curve[axis], strict=True):
                lines[run_id]["curve"][axis] = [number, plain(place), label]
    return list(lines.values())


def image_columns(rows: pd.DataFrame, keys: Iterable[str]) -> dict[str, Any]:
    """The rows of one run, column by column: `ids`, `lost` (by place in `ids`: status and reason), `values`."""
    lost = {i: [row.status, plain(row.error)] for i, row in enumerate(rows.itertuples()) if row.status != "ok"}
    values = {key: [plain(value) for value in rows[key]] for key in keys if key in rows and rows[key].notna().any()}
    return {"ids": rows["image_id"].tolist(), "lost": lost, "values": values}


def add_draws(layers: Mapping[str, dict[str, Any]], rows: pd.DataFrame, keys: Iterable[str]) -> None:
    """Give the layers of further draws their own `values`, of the `rows` of all draws of the run."""
    for draw, of_draw in rows[rows["draw"] > 0].groupby("draw"):
        if layer := layers.get(f"draw {draw}"):
            ordered = of_draw.set_index("image_id").reindex(layer["ids"]).reset_index()
            layer["values"] = image_columns(ordered, keys)["values"]


def steps(diagnostics: pd.DataFrame) -> dict[str, Any]:
    """Curves over a run's steps, by diagnostic: `step`, `mean`, `low`, `high` (5 % and 95 % of the images)."""
    curves = {}
    for name, curve in diagnostics.groupby("name"):  # with as many digits as a plot shows
        thin = curve.iloc[np.unique(np.linspace(0, len(curve) - 1, min(LONGEST, len(curve))).astype(int))]
        parts = {"step": "step", "mean": "mean", "low": "q05", "high": "q95"}
        curves[str(name)] = {
            key: [plain(float(f"{value:.5g}")) for value in thin[column]] for key, column in parts.items()
        }
    return curves


def truths(tables: Iterable[pd.DataFrame]) -> dict[str, str | None]:
    """By id of each image that is done in some run, the digest of its truth in the records: None where none has it, and
    no digest at all where they differ."""
    columns = [table.reindex(columns=["truth"]) for table in tables]
    done = pd.concat(columns or [pd.DataFrame(columns=["truth"])]).sort_index()
    digests = {str(image_id): sorted(set(known.dropna())) for image_id, known in done["truth"].groupby(level=0)}
    return {image_id: " or ".join(known) or None for image_id, known in digests.items()}


def plain(value: Any) -> Any:
    """A value for JSON: numbers in full, so that the page prints what the terminal prints; None for an absent or
    infinite one."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def script(value: object) -> str:
    """JSON that may be written inside a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("</", "<\\/")


def _value(run: pd.DataFrame, images: Images, column: Mapping[str, Any]) -> list[Any]:
    key = column["key"]
    mean, low, high = interval(key, run, images)
    errors = run.get(f"sets.{key}_se") if column["set"] else by_image(run["run_id"], images, key).sem()
    error = None if errors is None or errors.empty else errors.iloc[0]
    return [plain(number) for number in (mean, error, low, high)]


def _names(runs: pd.DataFrame, groups: pd.Series) -> dict[str, tuple[str, str]]:
    """By run id, a name that no other run of its group has, and the part of it that no column of the table has."""
    names = {}
    for _, group in runs.groupby(groups):
        for run_id, method, settings in zip(group["run_id"], group["method"], label_runs(group), strict=True):
            name = join_label(display_name("method", method), settings)
            more = [f"{k}={v}" for k, v in settings.items() if k not in ("variant", "N", "steps", "seed", "prior")]
            names[str(run_id)] = name, " ".join(more)
    return names

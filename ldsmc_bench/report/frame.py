"""The store as tables of data: one row a run, one row an image, one row a step."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from ldsmc_bench.errors import UserError
from ldsmc_bench.records import view
from ldsmc_bench.records.status import Request, asked
from ldsmc_bench.records.store import Store
from ldsmc_bench.records.store import runs as stores

RUN = ["run_id", "method", "variant", "task", "dataset", "prior", "steps", "particles", "seed"]
COUNTS = ["n", "n_failed", "n_skipped", "n_requested", "complete", "skipped"]
ROW = ["run_id", "image_id", "status", "error"]
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there


def runs(results_dir: str | Path) -> pd.DataFrame:
    """One row for each run of which something was asked, sorted by run id.

    `run_id method variant task dataset prior steps particles seed`; `n` images that are done, `n_failed`, `n_skipped`,
    `n_requested`, `complete` (every image is done or skipped), `skipped` (the reason, or None); `sample.<argument>` of
    the sampler, `sets.<name>` of the summary, and whatever else makes the run another run by its dotted name in
    config.yaml (`task.noise_std`, `precision`, `prior.digest`, …). What a run has not is NaN or None.
    Raises UserError if the results folder cannot be read.
    """
    found = [_run(store, request) for store in stores(results_dir) if (request := asked(store)) is not None]
    names = dict.fromkeys([*RUN, *COUNTS, *(name for run in found for name in run)])
    return pd.DataFrame(found, columns=list(names))


def rows(
    results_dir: str | Path, run_ids: Collection[str] | None = None, columns: Collection[str] | None = None
) -> pd.DataFrame:
    """One row for each image that has a record, of all runs or of `run_ids`, sorted by run and image.

    `run_id image_id status error`, metrics by their bare names (`psnr`), `cost.<name>`, and `diagnostics.<name>`, the
    mean over the image's steps. With `columns`, these only beside the first four. What a row has not is NaN.
    Raises UserError if the results folder cannot be read, or lacks one of `run_ids`.
    """
    parts = []
    for store in _chosen(results_dir, run_ids):
        table = view.rows(store, None if columns is None else [*ROW, *map(_name_in_view, columns)])
        table = table.select([name for name in table.column_names if not name.startswith("steps.")])
        of_run = pa.array([store.run_id] * len(table), pa.string())
        parts.append(table.replace_schema_metadata().add_column(0, "run_id", of_run))
    if not parts:
        return pd.DataFrame(columns=ROW)
    frame = pa.concat_tables(parts, promote_options="default").to_pandas()
    return frame.rename(columns=lambda name: name.removeprefix("metrics."))


def diagnostics(results_dir: str | Path, run_id: str) -> pd.DataFrame:
    """One row for each diagnostic and step of a run, over its images: `name step n mean q05 q25 q50 q75 q95`.

    Steps count from 0 in the order in which the sampler took them; `name` is `ess`, `resampled`, … Empty where the
    method tells nothing. Raises UserError if the results folder cannot be read, or the run is not there.
    """
    [store] = _chosen(results_dir, [run_id])
    table = view.rows(store)
    found = []
    for column in (name for name in table.column_names if name.startswith("steps.")):
        lists = [np.asarray(values) for values in table[column].to_pylist() if values]
        values = np.full((len(lists), max(map(len, lists), default=0)), np.nan)
        for row, steps in zip(values, lists, strict=True):
            row[: len(steps)] = steps
        found.append(
            pd.DataFrame(
                {
                    "name": column.removeprefix("steps."),
                    "step": range(values.shape[1]),
                    "n": np.isfinite(values).sum(axis=0),
                    "mean": np.nanmean(values, axis=0),
                    **{name: np.nanquantile(values, q, axis=0) for name, q in QUANTILES.items()},
                }
            )
        )
    return (
        pd.concat(found, ignore_index=True)
        if found
        else pd.DataFrame(columns=["name", "step", "n", "mean", *QUANTILES])
    )


def _run(store: Store, request: Request) -> dict[str, Any]:
    config, summary, count = _config(store), _summary(store), view.tally(store)
    method, task, dataset, prior = (_section(config, key) for key in ("method", "task", "dataset", "prior"))
    sample = {key: value for key, value in _section(method, "sample").items() if not key.startswith("_")}
    done = 0 < request.ids <= count.ok + count.skipped and not count.failed
    others = {key: value for key, value in config.items() if key not in ("method", "seed")}
    others |= {"task": _without_name(task), "dataset": _without_name(dataset), "prior": _without_name(prior)}
    return {
        "run_id": store.run_id,
        "method": request.method,
        "variant": request.variant,
        "task": request.task,
        "dataset": request.dataset,
        "prior": prior.get("name"),
        "steps": request.steps,
        "particles": request.particles,
        "seed": request.seed,
        "n": count.ok,
        "n_failed": count.failed,
        "n_skipped": count.skipped,
        "n_requested": request.ids,
        "complete": done,
        "skipped": count.reason,
        **dict(_flat(sample, "sample.")),
        **dict(_flat(others, "")),
        **dict(_flat(_section(summary, "sets"), "sets.")),
    }


def _config(store: Store) -> dict[str, Any]:
    try:
        config = yaml.load((store.root / "config.yaml").read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError):
        return {}  # a run without a legible config.yaml still has its rows
    return config if isinstance(config, dict) else {}


def _summary(store: Store) -> dict[str, Any]:
    try:
        return json.loads((store.root / "summary.json").read_bytes())
    except (OSError, ValueError):
        return {}


def _section(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _without_name(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "name"}


def _flat(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested sections by dotted names; lists as they are printed, so that every cell is one value."""
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def _chosen(results_dir: str | Path, run_ids: Collection[str] | None) -> list[Store]:
    found = stores(results_dir)
    if run_ids is None:
        return found
    if absent := sorted(set(run_ids) - {store.run_id for store in found}):
        raise UserError(
            f"{results_dir} has no run {absent[0]}; python -m ldsmc_bench.status lists those that are there"
        )
    return [store for store in found if store.run_id in set(run_ids)]


def _name_in_view(column: str) -> str:
    return column if column.startswith(("cost.", "diagnostics.")) else f"metrics.{column}"

"""The store as tables of data: one row a run, one row an image, one row a step."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from ldsmc_bench.errors import UserError
from ldsmc_bench.records import view
from ldsmc_bench.records.jobs import Job, kept
from ldsmc_bench.records.status import Request, asked, complete
from ldsmc_bench.records.store import Store, draw_stores, read_summary
from ldsmc_bench.records.store import runs as stores
from ldsmc_bench.text import printable_values

LABELS = ["method", "variant", "task", "dataset", "prior"]  # names
RUN = ["run_id", *LABELS, "steps", "particles", "seed"]
COUNTS = ["n", "n_failed", "n_skipped", "n_requested", "draws", "complete", "skipped", "split"]
IDENTITY = "identity"
ROW = ["run_id", "image_id", "status", "error"]
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
Images = Mapping[str, pd.DataFrame]  # by run id, see `images`
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there


def runs(results_dir: str | Path) -> pd.DataFrame:
    """One row for each run of which something was asked, sorted by run id.

    `run_id method variant task dataset prior steps particles seed`; `n` images that are done, `n_failed`, `n_skipped`,
    `n_requested`, `draws` asked for of each image, `complete` (see `records.status.complete`), `skipped` (the reason,
    or None), `split` of the data set; `sample.<argument>` of the sampler, `sets.<name>` of the summary, and every other
    value of config.yaml by its dotted name (`task.noise_std`, `precision`, `prior.digest`, …). An absent value is NaN
    or None. `identity` has all values of config.yaml but the seed, as exact text by column name. Raises UserError if
    the results folder cannot be read.
    """
    lines = [_run(store, request) for store in stores(results_dir) if (request := asked(store)) is not None]
    columns = dict.fromkeys([*RUN, *COUNTS, *(name for line in lines for name in line)])
    return pd.DataFrame(lines, columns=list(columns))


def rows(
    results_dir: str | Path,
    run_ids: Collection[str] | None = None,
    columns: Collection[str] | None = None,
    every_draw: bool = False,
) -> pd.DataFrame:
    """One row for each image that has a record, of all runs or of `run_ids`, sorted by run and image: that of draw 0,
    or with `every_draw` one for each draw, whose number is `draw`.

    `run_id image_id status error`, metrics by their bare names (`psnr`), `cost.<name>`, `diagnostics.<name>`, the mean
    over the image's steps, and `truth`, the digest of the true image. With `columns`, these only beside the first four.
    A value that a row lacks is NaN. Raises UserError if the results folder cannot be read, or lacks one of `run_ids`.
    """
    parts = []
    found = _select(results_dir, run_ids)
    for store in [one for run in found for one in draw_stores(run)] if every_draw else found:
        table = view.rows(
            store, None if columns is None else [*ROW, *columns, *(f"metrics.{name}" for name in columns)]
        )
        table = table.select([name for name in table.column_names if not name.startswith("steps.")])
        of_run = pa.array([store.run_id] * len(table), pa.string())
        table = table.replace_schema_metadata().add_column(0, "run_id", of_run)
        if every_draw:
            table = table.add_column(2, "draw", pa.array([store.draw] * len(table), pa.int64()))
        parts.append(table)
    if not parts:
        return pd.DataFrame(columns=[*ROW, "draw"] if every_draw else ROW)
    frame = pa.concat_tables(parts, promote_options="default").to_pandas()
    row_of = ["run_id", "image_id", "draw"] if every_draw else ["run_id", "image_id"]
    frame = frame.drop_duplicates(row_of)  # a record counts once
    return frame.rename(columns=lambda name: name.removeprefix("metrics."))


def images(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By run id, the `rows` of images that are done, by image id."""
    done = rows[rows["status"] == "ok"]
    return {str(run_id): of_run.set_index("image_id") for run_id, of_run in done.groupby("run_id", sort=False)}


def diagnostics(results_dir: str | Path, run_id: str) -> pd.DataFrame:
    """One row for each diagnostic and step of a run, over its images: `name step n mean q05 q25 q50 q75 q95`.

    Steps count from 0 in the order in which the sampler took them; `name` is `ess`, `resampled`, … Empty for a method
    without diagnostics. Raises UserError if the results folder cannot be read, or the run is not there.
    """
    [store] = _select(results_dir, [run_id])
    table = view.rows(store)
    parts = [pd.DataFrame(columns=["name", "step", "n", "mean", *QUANTILES])]
    for column in (name for name in table.column_names if name.startswith("steps.")):
        values = pd.DataFrame([steps for steps in table[column].to_pylist() if steps])  # images by steps
        quantiles = {name: values.quantile(q) for name, q in QUANTILES.items()}
        of_steps = {"step": values.columns, "n": values.count(), "mean": values.mean(), **quantiles}
        parts.append(pd.DataFrame({"name": column.removeprefix("steps."), **of_steps}))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def jobs(results_dir: str | Path) -> Iterator[Job]:
    """The jobs of all commands, the last ones last."""
    for launch in sorted((Path(results_dir) / "launches").glob("*")):
        yield from kept(launch)


def config_of(store: Store) -> dict[str, Any]:
    """The content of config.yaml; empty where it is not legible."""
    try:
        config = yaml.load((store.root / "config.yaml").read_bytes(), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # a run without a legible config.yaml still has its rows
    return printable_values(config) if isinstance(config, dict) else {}


def _run(store: Store, request: Request) -> dict[str, Any]:
    summary = printable_values(read_summary(store))
    counts = [view.tally(one, request.each) for one in draw_stores(store)]
    count = counts[0]
    sets = summary.get("sets") if isinstance(summary, dict) else None
    values = {_column(key): value for key, value in _flat(config_of(store), "")}
    return {
        **{key: value for key, value in values.items() if not key.rpartition(".")[2].startswith("_")},
        **asdict(request.labels),
        "run_id": store.run_id,
        "prior": str(values["prior"]) if "prior" in values else None,
        "n": count.ok,
        "n_failed": count.failed,
        "n_skipped": count.skipped,
        "n_requested": request.images[0],
        "draws": request.draws,
        "complete": complete(request, counts),
        "skipped": count.reason,
        "split": request.split,
        **dict(_flat(sets if isinstance(sets, dict) else {}, "sets.")),
        # A run whose config.yaml is not legible is like no other.
        IDENTITY: {key: _exact(value) for key, value in values.items() if key != "seed"} or {"run_id": store.run_id},
    }


def _column(key: str) -> str:
    """The name of a value's column: `sample.eta` for `method.sample.eta`, `task` for `task.name`."""
    if key in ("method.name", "task.name", "dataset.name", "prior.name"):
        return key.removesuffix(".name")
    return key.removeprefix("method.") if key.startswith("method.sample.") else key


def _flat(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested sections by dotted names; lists and empty sections as JSON, so that every cell is one value."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str) if isinstance(value, list | dict) else value


def _exact(value: Any) -> str:
    """One text for equal values, 1 and 1.0 among them, and another for every other value."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, default=str)


def _select(results_dir: str | Path, run_ids: Collection[str] | None) -> list[Store]:
    found = {store.run_id: store for store in stores(results_dir)}
    if run_ids is None:
        return list(found.values())
    if absent := sorted(set(run_ids) - found.keys()):
        raise UserError(f"{results_dir} has no run {absent[0]}; python -m ldsmc_bench status lists its runs")
    return [store for run_id, store in found.items() if run_id in set(run_ids)]

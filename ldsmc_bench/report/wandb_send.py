"""What W&B gets of a run, read from the store. The only file that imports wandb, and only in a process of its own."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
import yaml

from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, read, read_image

PANEL = 16  # pictures of the panel: always the first ids, so that runs show the same faces side by side


def has_key() -> bool:
    """Whether W&B finds a key (environment, settings or netrc), without asking anyone."""
    return bool(wandb.login(prompt=False, verify=False))


def send(store: Store, mode: Literal["online", "offline"], results_dir: Path) -> str:
    """Send a complete run, `online` or `offline`, as the one W&B run of its id; returns its address or its folder.

    What it sends: the configuration; SMC diagnostics step by step, averaged over the images; one table of all rows; a
    panel of pictures; the summary. The older folders of the same run under `results_dir/wandb` go once the new one is
    whole, so that a later `wandb sync` uploads each run once. Online, a run sent again keeps its first SMC curves (W&B
    takes no earlier step twice); all else is replaced. Raises what wandb raises.
    """
    summary = json.loads((store.root / "summary.json").read_bytes())
    config_text = (store.root / "config.yaml").read_text(encoding="utf-8")
    records = read(store)
    older = _folders(results_dir / "wandb", store.run_id)
    with wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ldsmc_bench"),
        id=store.run_id,
        name="{method} {task} N={particles} {steps} steps seed {seed}".format(**summary),
        group="{task} {dataset}".format(**summary),
        job_type=summary["method"],
        notes="\n".join(line[2:] for line in config_text.splitlines() if line.startswith("# ")),
        config=yaml.safe_load(config_text) | {key: summary[key] for key in ("steps", "particles")},
        dir=results_dir,
        mode=mode,
        resume="allow",
        reinit="create_new",
    ) as run:
        run.define_metric("smc/step", hidden=True, summary="none")
        run.define_metric("smc/*", step_metric="smc/step", summary="none")
        for step, values in enumerate(curves(records)):
            run.log({"smc/step": step, **values}, step=step)
        run.log({"rows": _table(records)} | _panel(store, records))
        run.summary.update(summary_values(summary))
        where = run.url if mode == "online" else str(Path(run.dir).parent)
    for folder in older:
        shutil.rmtree(folder, ignore_errors=True)
    return str(where)


def curves(records: Iterable[Record]) -> list[dict[str, float]]:
    """For each step, `smc/<name>`: the mean of a diagnostic over the images that have it then.

    So `smc/ess` is the mean effective sample size and `smc/resampled` the share of images that were resampled.
    """
    lines = [(name, line) for record in records for name, line in record["diagnostics"].items()]
    steps: list[dict[str, list[float]]] = [{} for _ in range(max((len(line) for _, line in lines), default=0))]
    for name, line in lines:
        for step, value in zip(steps, line, strict=False):
            step.setdefault(f"smc/{name}", []).append(float(value))
    return [{name: sum(values) / len(values) for name, values in step.items()} for step in steps]


def summary_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as flat names: `metrics/psnr` and `metrics/psnr_se`, `cost/seconds`, `sets/toyfaces_fid`, `n` …"""
    means = {
        f"{part}/{name}{end}": value
        for part in ("metrics", "cost")
        for name, mean in summary[part].items()
        for end, value in (("", mean["mean"]), ("_se", mean["se"]))
    }
    sets = {f"sets/{name}": value for name, value in summary["sets"].items()}
    counts = {key: summary[key] for key in ("n", "n_failed", "n_skipped")}
    return {name: value for name, value in {**counts, **means, **sets}.items() if value is not None}


def _table(records: Sequence[Record]) -> wandb.Table:
    """One row an image: what became of it, its metrics and its cost."""
    rows = [
        {"image_id": r["image_id"], "status": r["status"], "error": r.get("error"), **r["metrics"], **r["cost"]}
        for r in records
    ]
    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # or W&B leaves out rows past 10,000, in silence
    return wandb.Table(columns=columns, data=[[row.get(str(name)) for name in columns] for row in rows])


def _panel(store: Store, records: Sequence[Record]) -> dict[str, list[wandb.Image]]:
    """The pictures of the first images, nothing where all of them failed (W&B takes no empty list)."""
    ids = [record["image_id"] for record in records[:PANEL] if record["status"] == "ok"]
    return {"reconstructions": [wandb.Image(read_image(store, i), caption=i) for i in ids]} if ids else {}


def _folders(parent: Path, run_id: str) -> list[Path]:
    """What wandb wrote for this run before: `offline-run-<date>_<time>-<run_id>`, or `run-…` when online."""
    name = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(run_id)}(-\d+)?")
    return [path for path in parent.glob("*run-*") if name.fullmatch(path.name)]

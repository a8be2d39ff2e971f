"""The content of a W&B run, read from the store. The only file that imports wandb, in a process of its own."""

import hashlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import wandb
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ldsmc_bench import files
from ldsmc_bench.errors import UserError
from ldsmc_bench.records import view
from ldsmc_bench.records.pictures import is_truth, rgb
from ldsmc_bench.records.problems import columns, problem_of_run, read_picture
from ldsmc_bench.records.record import Record, RunLabels
from ldsmc_bench.records.status import asked, concluded
from ldsmc_bench.records.store import Store, read, read_image, read_spread
from ldsmc_bench.text import printable, printable_values
from ldsmc_bench.tracking.follow import Upload, mark_uploaded

CURVES, END, UNNAMED = "/curves", "/end", ""  # rows that are no image's (no id holds a slash), or of another machine
MARGIN = 4  # pixels between pictures
AMPLIFIED = 4  # times: particles seldom differ by more than a quarter of the range


def send(upload: Upload, is_over: Callable[[], bool] = lambda: True) -> str:
    """Send a run as it grows, until `is_over`, which may wait a moment; return the W&B run's address or folder.

    The W&B run's history has a row for each image, in the order of arrival: `images` so far, the image's `image/<name>`
    and the means so far `running/<name>` of each metric, cost and diagnostic (its mean over the steps), and
    `panel/<place>` for the first 16 images. The end of a complete run: the diagnostics by step, `smc/<name>`, one table
    of all `rows`, and the summary. Online, a run sent again keeps its first curves (W&B takes no earlier step twice),
    and all else is replaced. Older folders of the W&B run go once the new one is whole, so that `wandb sync` uploads
    each run once.

    The names of the rows are in `results_dir/wandb/<name>.rows`. A name is written before its row is sent, so after a
    kill the file may end in names of rows that W&B never got: only as many are believed as W&B has rows.

    Raises what wandb raises, UserError for a run without labels or a folder that wandb refuses.
    """
    if upload.mode == "online" and not wandb.login(prompt=False, verify=False):
        line = "warning: wandb.mode=online: no W&B key here, so offline it is; `wandb login` gives one"
        print(line, file=sys.stderr)
        upload = replace(upload, mode="offline")
    store, request = upload.store, asked(upload.store)
    if request is None:
        raise UserError(f"{store.run_id}: neither requested.json nor a record names its method and task")
    older, run = _older_folders(upload), _open_run(upload, request.labels)
    file = store.results_dir / "wandb" / f"{upload.name}.rows"
    names, step = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else [], run.starting_step
    rows = [*names[:step], *[UNNAMED] * (step - len(names))]
    # Any image may be among the rows without a name, and none is sent twice.
    sent = {*rows, *(_present(upload) if UNNAMED in rows else ())}
    files.replace(file, "".join(f"{name}\n" for name in rows).encode())

    def log(name: str, row: Mapping[str, Any]) -> None:
        with open(file, "a", encoding="utf-8") as end:
            end.write(f"{name}\n")
        rows.append(name)
        run.log(dict(row), step=len(rows) - 1)

    seen, totals, counts, over = set[str](), Counter[str](), Counter[str](), False
    while not over:
        over = is_over()  # before the look, so that it misses nothing
        for record in read(store, [image_id for image_id in _present(upload) if image_id not in seen]):
            image_id = record["image_id"]
            if record["status"] != "ok":
                continue
            diagnostics = {name: fmean(line) for name, line in record["diagnostics"].items() if line}
            values = {**record["metrics"], **record["cost"], **diagnostics}
            numbers: Any = {name: float(value) for name, value in values.items() if value is not None}
            seen.add(image_id)
            totals.update(numbers)
            counts.update(numbers.keys())
            if image_id in sent:
                continue
            row: dict[str, Any] = {"images": len(seen)} | {f"image/{name}": value for name, value in numbers.items()}
            row |= {f"running/{name}": total / counts[name] for name, total in totals.items()}
            if image_id in request.first:
                row[f"panel/{request.first.index(image_id):02d}"] = _picture(store, record)
            log(image_id, row)

    summary = concluded(store)
    if summary and upload.shards == 1:
        for values in diagnostics_by_step(view.rows(store)) if CURVES not in rows else ():
            log(CURVES, values)
        log(END, {"rows": _table(view.rows(store))})
        run.summary.update(summary_values(summary))
    where = run.url if upload.mode == "online" else str(Path(run.dir).parent)
    if upload.mode == "online" and run.url:
        files.replace(store.results_dir / "wandb" / f"{upload.name}.url", run.url.encode())  # for the page
    run.finish(exit_code=0 if summary or (upload.images and set(upload.images) <= {*_present(upload)}) else 1)
    for folder in older:
        shutil.rmtree(folder, ignore_errors=True)
    if summary and upload.shards == 1:
        mark_uploaded(upload)
    return str(where)


def diagnostics_by_step(table: pa.Table) -> list[dict[str, float]]:
    """For each `smc/step`, the mean `smc/<name>` of each diagnostic over the images that have it then.

    So `smc/ess` is the mean effective sample size and `smc/resampled` the share of images that were resampled.
    """
    names = [name for name in table.column_names if name.startswith("steps.")]
    names = [name for name in names if name != "steps.log_evidence"]  # a number for each island of a run
    lines = {name: pd.DataFrame([line for line in table[name].to_pylist() if line]).mean() for name in names}
    means = pd.DataFrame({f"smc/{name.removeprefix('steps.')}": line for name, line in lines.items()})
    return [{"smc/step": step, **values.dropna()} for step, (_, values) in enumerate(means.iterrows())]


def summary_values(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary under flat names: `metrics/psnr`, `metrics/psnr_se`, `cost/seconds`, `sets/toyfaces_fid`, `n` …"""
    values = {key: summary[key] for key in ("n", "n_failed", "n_skipped")}
    for part in ("metrics", "cost"):
        for name, mean in summary[part].items():
            values |= {f"{part}/{name}": mean["mean"], f"{part}/{name}_se": mean["se"]}
    for part in ("sets", "networks"):
        values |= {f"{part}/{name}": value for name, value in summary.get(part, {}).items()}
    return {name: value for name, value in values.items() if value is not None}


def _present(upload: Upload) -> list[str]:
    """The images of an upload that have a record, complete or not, by id."""
    ids = {path.stem for path in (upload.store.root / "records").glob("[!.]*.json")}
    return sorted(ids.intersection(upload.images) if upload.shards > 1 else ids)


def _open_run(upload: Upload, labels: RunLabels) -> wandb.Run:
    """Create the W&B run of an upload, or resume it."""
    store, folder = upload.store, _wandb_dir(upload)
    if printable(store.results_dir) != str(store.results_dir):
        raise UserError(f"results_dir={store.results_dir}: W&B takes no folder whose name is not UTF-8; give another")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # wandb would silently write elsewhere
        raise PermissionError(f"{folder}: cannot be written")
    config_text = printable((store.root / "config.yaml").read_text(encoding="utf-8", errors="surrogateescape"))
    identity = printable_values(yaml.safe_load(config_text))
    # Equal for runs that differ by their seed alone, so that W&B can group them.
    text = files.canonical({key: value for key, value in identity.items() if key != "seed"})
    setting = f"N={labels.particles} {labels.steps} steps {hashlib.sha256(text.encode()).hexdigest()[:6]}"
    method = labels.method if labels.variant == "default" else f"{labels.method} {labels.variant}"
    shard = f" shard {upload.shard} of {upload.shards}" if upload.shards > 1 else ""
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ldsmc_bench"),
        id=upload.name,
        name=f"{method} {labels.task} N={labels.particles} {labels.steps} steps seed {labels.seed}{shard}",
        group=store.run_id,
        job_type="shard" if shard else "run",
        notes="\n".join(line[2:] for line in config_text.splitlines() if line.startswith("# ")),
        config=identity
        | {"variant": labels.variant, "steps": labels.steps, "particles": labels.particles, "setting": setting},
        dir=folder,
        mode="online" if upload.mode == "online" else "offline",
        resume="allow",
        reinit="create_new",
    )
    run.define_metric("images", hidden=True)
    run.define_metric("image/*", step_metric="images", summary="none")
    run.define_metric("running/*", step_metric="images")
    run.define_metric("smc/step", hidden=True, summary="none")
    run.define_metric("smc/*", step_metric="smc/step", summary="none")
    return run


def _wandb_dir(upload: Upload) -> Path:
    """The folder in which wandb makes its own folder `wandb`: WANDB_DIR, or the one of the results."""
    return Path(os.environ.get("WANDB_DIR") or upload.store.results_dir).expanduser()


def _older_folders(upload: Upload) -> list[Path]:
    """The folders that wandb wrote for this W&B run: `offline-run-<date>_<time>-<id>`, or `run-…` when online."""
    name = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(upload.name)}(-\d+)?")
    places = {upload.store.results_dir / "wandb", _wandb_dir(upload) / "wandb"}
    return [path for place in places for path in place.glob("*run-*") if name.fullmatch(path.name)]


def _table(rows: pa.Table) -> wandb.Table:
    """One row for each image: its status, its metrics and its cost."""
    names = [name for name in rows.column_names if not name.startswith(("diagnostics.", "steps.", "truth"))]
    wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # or W&B silently leaves out rows past 10,000
    data: Any = [list(row.values()) for row in rows.select(names).to_pylist()]
    return wandb.Table(columns=[name.removeprefix("metrics.").removeprefix("cost.") for name in names], data=data)


def _picture(store: Store, record: Record) -> wandb.Image:
    """Truth, measurement, reconstruction and the particles' spread, as far as they are kept; without the first two if
    the truth is another picture now."""
    image_id, problem = record["image_id"], problem_of_run(store)
    pictures = {column: read_picture(problem, column, image_id) for column in columns(problem)} if problem else {}
    if (truth := pictures.get("truth")) is not None and not is_truth(truth, record.get("truth")):
        pictures = {}
    pictures["reconstruction"] = read_image(store, image_id)
    if (spread := read_spread(store, image_id)) is not None:
        pictures[f"particles' spread x{AMPLIFIED}"] = (spread.astype(int) * AMPLIFIED).clip(0, 255).astype(np.uint8)
    shown = {column: picture for column, picture in pictures.items() if picture is not None}
    caption = f"{image_id}: {' | '.join(shown)} ({record['method']} N={record['particles']})"
    return wandb.Image(_strip(shown.values()), caption=caption)


def _strip(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join pictures, (h,w,3) or grey (h,w), left to right, each enlarged by nearest pixels to the tallest."""
    images = [Image.fromarray(rgb(picture)) for picture in pictures]
    tall = max(image.height for image in images)
    parts = [ImageOps.contain(image, (sys.maxsize, tall), Image.Resampling.NEAREST) for image in images]
    return np.hstack([np.asarray(ImageOps.expand(part, (0, 0, MARGIN, 0), "white")) for part in parts])[:, :-MARGIN]

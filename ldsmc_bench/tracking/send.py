"""The content of a W&B run, read from the store. The only file that imports wandb, in a process of its own."""

import hashlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import wandb
import yaml
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ldsmc_bench import files
from ldsmc_bench.errors import UserError
from ldsmc_bench.records import view
from ldsmc_bench.records.pictures import is_truth, rgb
from ldsmc_bench.records.problems import columns, problem_of_run, read_picture
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.status import Request, asked, concluded
from ldsmc_bench.records.store import Store, read, read_image, read_spread
from ldsmc_bench.text import printable, printable_values
from ldsmc_bench.tracking.follow import LEADING, Upload, is_uploaded, mark_uploaded, so_far

CURVES, END, UNNAMED = "/curves", "/end", ""  # rows that are no image's (no id holds a slash), or of another machine
MARGIN = 4  # pixels between pictures
AMPLIFIED = 4  # times: particles seldom differ by more than a quarter of the range
TALL, SMALL = 256, 128  # pixels: the least height of a panel, the greatest of a picture in the table
PICTURES = 256  # in the table: all of a large run would take longer to send than a command waits


def send(upload: Upload, ending: Callable[[], bool | None] = lambda: False) -> str:
    """Send a run as it grows; return the W&B run's address or folder, nothing where another shard's follower does it.

    `ending` is None, after a moment, while the run goes on, and at its end, once, whether it ended well. The follower
    of one shard shows the images of all; when its shard ends, another's goes on.

    The history has a row for each image, in the order of arrival: `images` so far, the image's `image/<name>` and the
    means `so_far` of each metric, of each diagnostic (its mean over the steps) and of the seconds, and `panel/<place>`
    for the first 16 images. The end of a complete run: the diagnostics by step, `smc/<name>`, one table of all `rows`,
    and the summary. Online, a run sent again keeps its first curves (W&B takes no earlier step twice), and all else is
    replaced. Older folders of the W&B run go once the new one is whole, so that `wandb sync` uploads each run once.

    The names of the rows are in `results_dir/wandb/<name>.rows`. A name is written before its row is sent, so after a
    kill the file may end in names of rows that W&B never got: only as many are believed as W&B has rows.

    Raises what wandb raises, UserError for a run without labels or a folder that wandb refuses.
    """
    if upload.mode == "online" and not wandb.login(prompt=False, verify=False):
        print("warning: wandb.mode=online: no W&B key here, so offline it is; `wandb login` gives one", file=sys.stderr)
        upload = replace(upload, mode="offline")
    upload.file("lock").parent.mkdir(parents=True, exist_ok=True)
    lock, ended = FileLock(upload.file("lock")), None
    while True:
        try:
            with lock.acquire(timeout=1), open(upload.file("console"), "ab+") as console:
                return _send(upload, ending, ended, console)
        except Timeout:
            ended = ending() if ended is None else ended
            if ended is not None and (is_uploaded(upload) or not concluded(upload.store)):
                return ""


def _send(upload: Upload, ending: Callable[[], bool | None], ended: bool | None, console: IO[bytes]) -> str:
    store, request = upload.store, asked(upload.store)
    if request is None:
        raise UserError(f"{store.run_id}: neither requested.json nor a record names its method and task")
    older, file = _older_folders(upload), upload.file("rows")
    run = _open_run(upload, request)
    console.seek(min(upload.since, console.tell()) if run.resumed else 0)
    names, step = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else [], run.starting_step
    rows = [*names[:step], *[UNNAMED] * (step - len(names))]
    # Any image may be among the rows without a name, and none is sent twice.
    sent = {*rows, *(_present(store) if UNNAMED in rows else ())}
    files.replace(file, "".join(f"{name}\n" for name in rows).encode())

    def log(name: str, row: Mapping[str, Any]) -> None:
        with open(file, "a", encoding="utf-8") as end:
            end.write(f"{name}\n")
        rows.append(name)
        run.log(dict(row), step=len(rows) - 1)

    seen, totals, counts = dict[str, wandb.Image | None](), Counter[str](), Counter[str]()
    over, text = False, ""
    while not over:
        over = (ended := ending() if ended is None else ended) is not None  # before the look, so that it misses nothing
        whole, end, text = (text + console.read().decode(errors="replace")).rpartition("\n")
        if over or end:  # a progress bar is one line
            run.write_logs(re.sub(r".*\r", "", whole + end + text * over))
        for record in read(store, [image_id for image_id in _present(store) if image_id not in seen]):
            image_id = record["image_id"]
            if record["status"] != "ok":
                continue
            diagnostics = {name: fmean(line) for name, line in record["diagnostics"].items() if line}
            values = {**record["metrics"], **diagnostics, "seconds": record["cost"].get("seconds")}
            numbers: Any = {name: float(value) for name, value in values.items() if value is not None}
            seen[image_id] = _picture(store, record, small=True) if len(seen) < PICTURES else None
            totals.update(numbers)
            counts.update(numbers.keys())
            if image_id in sent:
                continue
            row: dict[str, Any] = {"images": len(seen)} | {f"image/{name}": value for name, value in numbers.items()}
            row |= {so_far(name): total / counts[name] for name, total in totals.items()}
            if image_id in request.first:
                row[f"panel/{request.first.index(image_id):02d}"] = _picture(store, record)
            log(image_id, row)

    if summary := concluded(store):
        for values in diagnostics_by_step(view.rows(store)) if CURVES not in rows else ():
            log(CURVES, values)
        log(END, {"rows": _table(view.rows(store), seen)})
        run.summary.update(summary_values(summary))
    where = run.url if upload.mode == "online" else str(Path(run.dir).parent)
    if upload.mode == "online" and run.url:
        files.replace(store.results_dir / "wandb" / f"{store.run_id}.url", run.url.encode())  # for the page
    run.finish(exit_code=0 if summary or ended else 1)
    for folder in older:
        shutil.rmtree(folder, ignore_errors=True)
    if summary:
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


def _present(store: Store) -> list[str]:
    """The images that have a record, complete or not, by id."""
    return sorted(path.stem for path in (store.root / "records").glob("[!.]*.json"))


def _open_run(upload: Upload, request: Request) -> wandb.Run:
    """Create the W&B run of an upload, or resume it."""
    store, labels, folder = upload.store, request.labels, _wandb_dir(upload)
    if printable(store.results_dir) != str(store.results_dir):
        raise UserError(f"results_dir={store.results_dir}: W&B takes no folder whose name is not UTF-8; give another")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # wandb would silently write elsewhere
        raise PermissionError(f"{folder}: cannot be written")
    config_text = printable((store.root / "config.yaml").read_text(encoding="utf-8", errors="surrogateescape"))
    identity = printable_values(yaml.safe_load(config_text))
    text = files.canonical({key: value for key, value in identity.items() if key != "seed"})  # so W&B can group seeds
    setting = f"N={labels.particles} {labels.steps} steps {hashlib.sha256(text.encode()).hexdigest()[:6]}"
    notes = [
        line[2:] for line in config_text.splitlines() if line.startswith("# ")
    ]  # commit, versions, machine, device
    config = asdict(labels) | {"n_images": request.images[0], "setting": setting}  # by name, as W&B's sweeps have them
    config |= {key: value for key, _, value in (note.partition(": ") for note in notes)}
    config |= {"sample": identity.get("method", {}).pop("sample", {}), "identity": identity}
    own = [labels.variant] if labels.variant != "default" else []
    problem = (labels.method, labels.task, labels.dataset)
    tags = [*problem, f"N={labels.particles}", *own, *os.environ.get("WANDB_TAGS", "").split(",")]
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ldsmc_bench"),
        id=upload.id,
        name=" ".join(["/".join(problem), f"N={labels.particles}", *own]),
        group=os.environ.get("WANDB_RUN_GROUP") or f"{labels.method}/{labels.task}/{labels.variant}",
        tags=[tag[:64] for tag in tags if tag],
        notes="\n".join(notes),
        config=config,
        dir=folder,
        mode="online" if upload.mode == "online" else "offline",
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(x_disable_stats=not upload.gpu, x_stats_pid=os.getppid()),
    )
    os.environ["WANDB_DATA_DIR"] = str(Path(run.dir).parent)  # for the table's pictures, until `wandb sync` takes them
    run.define_metric("images", hidden=True)
    run.define_metric("image/*", step_metric="images", summary="none")
    for name in ("running/*", *LEADING):
        run.define_metric(name, step_metric="images")
    run.define_metric("smc/step", hidden=True, summary="none")
    run.define_metric("smc/*", step_metric="smc/step", summary="none")
    return run


def _wandb_dir(upload: Upload) -> Path:
    """The folder in which wandb makes its own folder `wandb`: WANDB_DIR, or the one of the results."""
    return Path(os.environ.get("WANDB_DIR") or upload.store.results_dir).expanduser()


def _older_folders(upload: Upload) -> list[Path]:
    """The folders that wandb wrote for this W&B run: `offline-run-<date>_<time>-<id>`, or `run-…` when online."""
    name = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(upload.id)}(-\d+)?")
    places = {upload.store.results_dir, _wandb_dir(upload)}
    return [path for place in places for path in (place / "wandb").glob("*run-*") if name.fullmatch(path.name)]


def _table(rows: pa.Table, pictures: Mapping[str, wandb.Image | None]) -> wandb.Table:
    """One row for each image: its picture, where there is one, its status, its metrics and its cost."""
    names = [name for name in rows.column_names if not name.startswith(("diagnostics.", "steps.", "truth"))]
    wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # or W&B silently leaves out rows past 10,000
    data: Any = [[*row.values(), pictures.get(row["image_id"])] for row in rows.select(names).to_pylist()]
    columns = [name.removeprefix("metrics.").removeprefix("cost.") for name in names]
    return wandb.Table(columns=[*columns, "picture"], data=data)


def _picture(store: Store, record: Record, small: bool = False) -> wandb.Image:
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
    return wandb.Image(_strip([*shown.values()], small), caption=caption, file_type="jpg" if small else None)


def _strip(pictures: Sequence[NDArray[np.uint8]], small: bool = False) -> Image.Image:
    """Join pictures, (h,w,3) or grey (h,w), left to right, each by nearest pixels as tall as the tallest, which is
    enlarged, by a whole number, to `TALL` pixels at least; or a `small` strip of `SMALL` pixels at most."""
    tall = max(picture.shape[0] for picture in pictures)
    height = min(tall, SMALL) if small else tall * -(-TALL // tall)
    images = [Image.fromarray(rgb(picture)) for picture in pictures]
    how = Image.Resampling.BOX if height < tall else Image.Resampling.NEAREST
    parts = [ImageOps.contain(image, (sys.maxsize, height), how) for image in images]
    strips = [np.asarray(ImageOps.expand(part, (0, 0, MARGIN, 0), "white")) for part in parts]
    return Image.fromarray(np.hstack(strips)[:, :-MARGIN])

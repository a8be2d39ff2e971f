"""What W&B gets of a run, read from the store. The only file that imports wandb, and only in a process of its own."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
import yaml

from ldsmc_bench.records.identity import canonical
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.status import requested
from ldsmc_bench.records.store import Store, read, read_image, read_spread
from ldsmc_bench.report.wandb_panel import AMPLIFIED, Picture, amplified, posed_pictures, strip
from ldsmc_bench.report.wandb_part import PANEL, Mode, Part, complete, problem, remember, rows_path
from ldsmc_bench.report.wandb_rows import UNKNOWN, Rows

CURVES, END = "/curves", "/end"  # rows that are no image's: no id holds a slash
ONCE = ("log_evidence",)  # a number for each island of a run, not for each step
LABELS = ("method", "task", "dataset", "particles", "steps", "seed")


def usable(mode: Mode) -> Mode:
    """`offline` where W&B finds no key for `online` (environment, settings, netrc), with a warning; nobody is asked."""
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        print("warning: wandb.mode=online: no W&B key here, so offline it is; `wandb login` gives one", file=sys.stderr)
        return "offline"
    return mode


class Sending:
    """A W&B run on its way: made with the configuration, fed by `look` with what is new in the store, then closed.

    History, a row an image, in the order in which they came: `images` so far, the image's `image/<name>` and the means
    so far `running/<name>` of each metric, cost and diagnostic (of that its mean over the steps), and, of the first 16
    images, `panel/<place>`. Raises what wandb raises.
    """

    def __init__(self, part: Part, mode: Mode) -> None:
        self.part, self.mode = part, mode
        self.problem = problem(part.store)
        self.older = _folders(part)
        self.run = _opened(part, mode)
        self.rows = Rows(rows_path(part), self.run.starting_step)
        # Rows that another machine sent have no names here: what is there may be among them, and nothing is doubled.
        self.sent = {*self.rows.names, *(_present(part.store) if UNKNOWN in self.rows.names else ())}
        self.seen: set[str] = set()
        self.sums: dict[str, tuple[float, int]] = {}
        self.posed: dict[str, tuple[Picture, Picture]] | None = None

    def look(self) -> None:
        """Send the images that were finished since the last look."""
        present = _present(self.part.store)
        mine = set(self.part.ids(self.problem["ids"])) if self.problem and self.part.shards > 1 else set(present)
        panel = (self.problem["ids"] if self.problem else present)[:PANEL]
        for record in read(self.part.store, [i for i in present if i in mine - self.seen]):
            if record["status"] == "ok":
                self._image(record, panel)

    def close(self, ended_well: bool = True) -> str:
        """Send what is only known at the end of a complete run, and finish; returns the W&B run's address or folder.

        At the end: the diagnostics step by step, `smc/<name>`; one table of all `rows`; the summary. The older folders
        of the same W&B run go once the new one is whole, so that a later `wandb sync` uploads each run once. Online, a
        run sent again keeps its first curves (W&B takes no earlier step twice); all else is replaced.
        """
        summary = complete(self.part.store) if self.part.shards == 1 else None
        if summary:
            self._conclude(summary)
        where = self.run.url if self.mode == "online" else str(Path(self.run.dir).parent)
        self.run.finish(exit_code=0 if ended_well else 1)
        for folder in self.older:
            shutil.rmtree(folder, ignore_errors=True)
        if summary:
            remember(self.part.store, self.mode)
        return str(where)

    def _image(self, record: Record, panel: Sequence[str]) -> None:
        image_id, values = record["image_id"], _numbers(record)
        self.seen.add(image_id)
        for name, value in values.items():
            total, n = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, n + 1)
        if image_id in self.sent:
            return
        row: dict[str, Any] = {"images": len(self.seen)}
        row |= {f"image/{name}": value for name, value in values.items()}
        row |= {f"running/{name}": total / n for name, (total, n) in self.sums.items()}
        if image_id in panel:
            row[f"panel/{panel.index(image_id):02d}"] = self._picture(record, panel)
        self.run.log(row, step=self.rows.add(image_id))

    def _picture(self, record: Record, panel: Sequence[str]) -> wandb.Image:
        """Truth, measurement, reconstruction and the spread of particles, where there were several; the first two are
        left out where they cannot be made again."""
        image_id = record["image_id"]
        if self.posed is None:
            self.posed = self._posed(self.part.ids(panel))
        pictures = {"reconstruction": read_image(self.part.store, image_id)}
        if image_id in self.posed:
            truth, measurement = self.posed[image_id]
            pictures = {"truth": truth, "measurement": measurement, **pictures}
        spread = read_spread(self.part.store, image_id)
        if spread is not None:
            pictures[f"particles' spread x{AMPLIFIED}"] = amplified(spread)
        caption = f"{image_id}: {' | '.join(pictures)} ({record['method']} N={record['particles']})"
        return wandb.Image(strip(list(pictures.values())), caption=caption)

    def _posed(self, ids: Sequence[str]) -> dict[str, tuple[Picture, Picture]]:
        if self.problem is None:
            return {}
        try:
            return posed_pictures(self.problem, ids)
        except Exception as error:  # the data may be gone: the numbers go out all the same
            why = " ".join(str(error).split())
            print(f"warning: W&B's panel has no truth and no measurement ({why})", file=sys.stderr)
            return {}

    def _conclude(self, summary: Mapping[str, Any]) -> None:
        records = read(self.part.store)
        if CURVES not in self.rows.names:
            for step, values in enumerate(curves(records)):
                self.run.log({"smc/step": step, **values}, step=self.rows.add(CURVES))
        self.run.log({"rows": _table(records)}, step=self.rows.add(END))
        self.run.summary.update(summary_values(summary))


def curves(records: Iterable[Record]) -> list[dict[str, float]]:
    """For each step, `smc/<name>`: the mean of a diagnostic over the images that have it then.

    So `smc/ess` is the mean effective sample size and `smc/resampled` the share of images that were resampled.
    """
    lines = [(name, line) for record in records for name, line in record["diagnostics"].items() if name not in ONCE]
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
    networks = {f"networks/{name}": digest for name, digest in summary.get("networks", {}).items()}
    counts = {key: summary[key] for key in ("n", "n_failed", "n_skipped")}
    return {name: value for name, value in {**counts, **means, **sets, **networks}.items() if value is not None}


def _opened(part: Part, mode: Mode) -> wandb.Run:
    """The W&B run of a part, made or gone on with."""
    config_text = (part.store.root / "config.yaml").read_text(encoding="utf-8")
    labels = _labels(part.store)
    identity = yaml.safe_load(config_text)
    config = identity | {key: labels[key] for key in ("steps", "particles")} | {"setting": _setting(identity, labels)}
    shard = f" shard {part.shard} of {part.shards}" if part.shards > 1 else ""
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ldsmc_bench"),
        id=part.name,
        name="{method} {task} N={particles} {steps} steps seed {seed}".format(**labels) + shard,
        group=part.store.run_id,
        job_type="shard" if shard else "run",
        notes="\n".join(line[2:] for line in config_text.splitlines() if line.startswith("# ")),
        config=config,
        dir=part.results_dir,
        mode=mode,
        resume="allow",
        reinit="create_new",
    )
    run.define_metric("images", hidden=True)
    run.define_metric("image/*", step_metric="images", summary="none")
    run.define_metric("running/*", step_metric="images")
    run.define_metric("smc/step", hidden=True, summary="none")
    run.define_metric("smc/*", step_metric="smc/step", summary="none")
    return run


def _labels(store: Store) -> dict[str, Any]:
    """What a reader wants to know of a run, as it was asked for or, where that was lost, as its records say."""
    wanted = requested(store)
    return {key: getattr(wanted, key) for key in LABELS} if wanted else {key: read(store)[0][key] for key in LABELS}  # type: ignore[literal-required]


def _setting(identity: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """The same for runs that differ by their seed alone, so that W&B can group them."""
    text = canonical({key: value for key, value in identity.items() if key != "seed"})
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"N={labels['particles']} {labels['steps']} steps {digest}"


def _present(store: Store) -> list[str]:
    """The images that have a record, complete or not, by id."""
    names = os.listdir(store.root / "records")
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith("."))


def _numbers(record: Record) -> dict[str, float]:
    """The metrics, the cost, and the mean over the steps of each diagnostic."""
    values = {**record["metrics"], **record["cost"]}
    diagnostics = {name: sum(line) / len(line) for name, line in record["diagnostics"].items() if line}
    return {name: float(value) for name, value in {**values, **diagnostics}.items() if value is not None}


def _table(records: Sequence[Record]) -> wandb.Table:
    """One row an image: what became of it, its metrics and its cost."""
    rows = [
        {"image_id": r["image_id"], "status": r["status"], "error": r.get("error"), **r["metrics"], **r["cost"]}
        for r in records
    ]
    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # or W&B leaves out rows past 10,000, in silence
    return wandb.Table(columns=columns, data=[[row.get(str(name)) for name in columns] for row in rows])


def _folders(part: Part) -> list[Path]:
    """What wandb wrote for this W&B run before: `offline-run-<date>_<time>-<id>`, or `run-…` when online."""
    name = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(part.name)}(-\d+)?")
    return [path for path in (part.results_dir / "wandb").glob("*run-*") if name.fullmatch(path.name)]

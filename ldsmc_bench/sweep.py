"""What happens around runs: a job that never takes the others' results, and the table and sheet at the end."""

import json
import logging
import shutil
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.errors import UserError
from ldsmc_bench.signals import stoppable

log = logging.getLogger(__name__)
_failed: list[str] = []  # of this command; Hydra hands nothing back from a callback


def job(cfg: DictConfig) -> None:
    """One run of a sweep. Whatever happens is written to `outcome.json` in the job's log folder; nothing is raised."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    outcome: dict[str, Any] = {"run_id": None, "error": None}
    try:
        if cfg.launch == "detached" and HydraConfig.get().runtime.choices.get("hydra/launcher") != "slurm":
            raise UserError("launch=detached: only SLURM goes on without this command; add hydra/launcher=slurm")
        with stoppable():
            from ldsmc_bench.run import run

            outcome["run_id"] = run(cfg).run_id
    except UserError as error:
        outcome["error"] = " ".join(str(error).split())
    except Exception as error:
        log.exception("the run broke off")
        traceback.print_exc()
        outcome["error"] = " ".join(f"{type(error).__name__}: {error} (log: {folder})".split())
    (folder / "outcome.json").write_text(json.dumps(outcome))


def exit_code() -> int:
    """0 when every run of this command is whole, 1 otherwise."""
    return 1 if _failed else 0


class Report(Callback):
    """Hydra calls this when a command's last job has ended, on whichever machine the jobs ran."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        _failed[:] = ["no report yet"]  # stands if the report breaks off, which Hydra turns into a warning

    on_multirun_start = on_run_start

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        _failed[:] = conclude([Path(config.hydra.run.dir)])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if config.launch == "detached" and config.hydra.runtime.choices["hydra/launcher"] == "slurm":
            _failed[:] = []  # the jobs have only been submitted
            return
        jobs = (path.parent.parent for path in Path(config.hydra.sweep.dir).glob("*/.hydra/overrides.yaml"))
        _failed[:] = conclude(sorted(jobs, key=_number))


def conclude(jobs: Sequence[Path]) -> list[str]:
    """Print the table of the jobs' runs, the path of their sheet, and what failed; return what failed."""
    from ldsmc_bench.records.status import requested
    from ldsmc_bench.records.store import Store
    from ldsmc_bench.report.table import table

    results, summaries, failed, waiting = {}, [], [], set()
    for folder, name in _names(jobs).items():
        outcome = _read(folder / "outcome.json") or {"run_id": None, "error": f"the job died (log: {folder})"}
        if outcome["error"]:
            failed.append(_said_of(name, outcome["error"]))
            continue
        cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
        assert isinstance(cfg, DictConfig)
        store = Store(Path(cfg.results_dir) / "runs" / outcome["run_id"], outcome["run_id"])
        summary, wanted = _read(store.root / "summary.json"), requested(store)
        images = sum(summary[key] for key in ("n", "n_failed", "n_skipped")) if summary else 0
        if summary is None or (wanted and images < wanted.ids):
            waiting.add(store.run_id)
            continue
        if store.run_id not in results:
            cfg.device = "cpu"  # a report needs no GPU, and may be made where there is none
            results[store.run_id] = cfg
            summaries.append({**summary, "asked": " ".join(o for o in name.split() if not o.startswith("shard="))})
            if summary["n_failed"]:
                count = f"{summary['n_failed']} of {images} images failed"
                failed.append(_said_of(name, f"{count}; the records in {store.root / 'records'} say why"))
    for run_id in sorted(waiting):
        print(f"{run_id}: this shard is done, others are not yet (python -m ldsmc_bench.status)")
    if summaries:
        print()
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 240  # a log wraps no lines
        print(table(summaries, width=width))
        try:
            for path in sheets(results):
                print(f"sheet: {path}")
        except UserError as error:
            failed.append(str(error))
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return failed


def sheets(results: dict[str, DictConfig]) -> Iterable[Path]:
    """One picture sheet for each problem among the runs: truth, measurement, and a column for every run on it."""
    import torch

    from ldsmc_bench.known import posterior_pictures
    from ldsmc_bench.pose import pose
    from ldsmc_bench.records.store import Store, finished, read_image
    from ldsmc_bench.report.sheet import ROWS, measurement_pictures, save_sheet
    from ldsmc_bench.settings import checked, made

    problems: dict[str, dict[str, DictConfig]] = {}
    for run_id, cfg in results.items():
        key = json.dumps(
            [OmegaConf.to_container(cfg[part]) for part in ("task", "dataset", "measurement")] + [cfg.seed]
        )
        problems.setdefault(key, {})[run_id] = cfg
    for runs in problems.values():
        first = next(iter(runs.values()))
        settings = checked(first)
        dataset = made(settings.config["dataset"]["load"])
        posed = pose(settings, dataset, dataset.ids[: min(ROWS, settings.n_images)])
        if posed.measurement is None:
            continue
        columns: dict[str, Any] = {"truth": posed.truths, "measurement": measurement_pictures(posed.measurement)}
        if settings.config["dataset"]["name"] == "mixture":
            columns = {"posterior": posterior_pictures(made(settings.config["prior"]["load"]), posed)}
        names = [checked(cfg).labels for cfg in runs.values()]
        for (run_id, cfg), caption in zip(runs.items(), _captions(names), strict=True):
            store = Store(Path(cfg.results_dir) / "runs" / run_id, run_id)
            good = finished(store, posed.ids)
            columns[caption] = [
                torch.from_numpy(read_image(store, image_id)).permute(2, 0, 1) if image_id in good else None
                for image_id in posed.ids
            ]
        name = "-".join([names[0]["task"], names[0]["dataset"], *(run_id.split("-")[-1][:6] for run_id in runs)])
        yield save_sheet(
            Path(first.results_dir) / "figures" / f"{name[:100]}.png", columns, scale=1 if "posterior" in columns else 3
        )


def _captions(names: list[dict[str, Any]]) -> list[str]:
    """What tells the runs apart, or the method where nothing does; never the same twice."""
    words = {"method": "{}", "particles": "N={}", "steps": "{} steps"}
    varying = [key for key in words if len({name[key] for name in names}) > 1] or ["method"]
    captions = [" ".join(words[key].format(name[key]) for key in varying) for name in names]
    return [c if captions.count(c) == 1 else f"{c} #{i + 1}" for i, c in enumerate(captions)]


def _names(jobs: Iterable[Path]) -> Mapping[Path, str]:
    """What tells each job of a sweep from the others: the overrides that they do not all share."""
    asked = {folder: yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()) for folder in jobs}
    shared = set.intersection(*map(set, asked.values())) if asked else set()
    return {folder: " ".join(o for o in overrides if o not in shared) for folder, overrides in asked.items()}


def _said_of(name: str, what: str) -> str:
    return what if what.startswith(name) else f"{name}: {what}"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdigit() else (sys.maxsize, folder.name)

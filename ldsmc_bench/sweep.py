"""What happens around runs: a job that never takes the others' results, and the table and sheet at the end."""

import json
import logging
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.errors import UserError

log = logging.getLogger(__name__)
_failed: list[str] = []


def job(cfg: DictConfig) -> None:
    """One run of a sweep. Whatever happens is written to `outcome.json` in the job's log folder; nothing is raised."""
    from ldsmc_bench.run import run

    outcome: dict[str, Any] = {"run_id": None, "error": None}
    try:
        outcome["run_id"] = run(cfg).run_id
    except UserError as error:
        outcome["error"] = str(error)
    except Exception as error:
        log.exception("the run broke off")
        traceback.print_exc()
        outcome["error"] = f"{type(error).__name__}: {error}"
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "outcome.json").write_text(json.dumps(outcome))


def exit_code() -> int:
    """0 when every run of this command is whole, 1 otherwise."""
    return 1 if _failed else 0


class Report(Callback):
    """Hydra calls this when a command's last job has ended, on whichever machine the jobs ran."""

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        conclude([Path(config.hydra.run.dir)])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        conclude(sorted((path.parent.parent for path in folder.glob("*/.hydra/config.yaml")), key=_number))


def conclude(jobs: list[Path]) -> None:
    """Print the table of the jobs' runs, the path of their sheet, and what failed."""
    from ldsmc_bench.report.table import table

    results, summaries = {}, []
    for folder in jobs:
        outcome = _read(folder / "outcome.json") or {"run_id": None, "error": "the job died; see its log"}
        cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
        assert isinstance(cfg, DictConfig)
        if outcome["error"]:
            _failed.append(f"{_asked(folder)}: {outcome['error']} (log: {folder})")
            continue
        summary = _read(Path(cfg.results_dir) / "runs" / outcome["run_id"] / "summary.json")
        if summary is None:
            print(f"{outcome['run_id']}: this shard is done, others are not yet (python -m ldsmc_bench.status)")
            continue
        if summary["n_failed"]:
            _failed.append(f"{_asked(folder)}: {summary['n_failed']} images failed; their records say why")
        if outcome["run_id"] not in results:
            results[outcome["run_id"]] = cfg
            summaries.append(summary)
    if summaries:
        print()
        print(table(summaries))
        for path in sheets(results):
            print(f"sheet: {path}")
    for line in _failed:
        print(f"error: {line}", file=sys.stderr)


def sheets(results: dict[str, DictConfig]) -> Iterable[Path]:
    """One picture sheet for each problem among the runs: truth, measurement, and a column for every run on it."""
    import torch

    from ldsmc_bench.records.store import Store, finished, read_image
    from ldsmc_bench.report.sheet import ROWS, measurement_pictures, save_sheet
    from ldsmc_bench.run import labels, made, pose
    from ldsmc_bench.settings import checked

    problems: dict[str, dict[str, DictConfig]] = {}
    for run_id, cfg in results.items():
        key = json.dumps(
            [OmegaConf.to_container(cfg[part]) for part in ("task", "dataset", "measurement")] + [cfg.seed]
        )
        problems.setdefault(key, {})[run_id] = cfg
    for runs in problems.values():
        first = next(iter(runs.values()))
        settings = checked(first)
        dataset = made(first.dataset.load)
        posed = pose(first, settings, dataset, dataset.ids[: min(ROWS, settings.n_images)])
        if posed.measurement is None:
            continue
        columns: dict[str, Any] = {"truth": posed.truths, "measurement": measurement_pictures(posed.measurement)}
        names = [labels(checked(cfg)) for cfg in runs.values()]
        for (run_id, cfg), caption in zip(runs.items(), _captions(names), strict=True):
            store = Store(Path(cfg.results_dir) / "runs" / run_id, run_id)
            good = finished(store, posed.ids)
            columns[caption] = [
                torch.from_numpy(read_image(store, image_id)).permute(2, 0, 1) if image_id in good else None
                for image_id in posed.ids
            ]
        name = "-".join([names[0]["task"], names[0]["dataset"], *(run_id.split("-")[-1][:6] for run_id in runs)])
        yield save_sheet(Path(first.results_dir) / "figures" / f"{name[:100]}.png", columns)


def _captions(names: list[dict[str, Any]]) -> list[str]:
    """What tells the runs apart, or the method where nothing does; never the same twice."""
    words = {"method": "{}", "particles": "N={}", "steps": "{} steps"}
    varying = [key for key in words if len({name[key] for name in names}) > 1] or ["method"]
    captions = [" ".join(words[key].format(name[key]) for key in varying) for name in names]
    return [c if captions.count(c) == 1 else f"{c} #{i + 1}" for i, c in enumerate(captions)]


def _asked(folder: Path) -> str:
    overrides = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    return " ".join(map(str, overrides)) or "default configuration"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdigit() else (sys.maxsize, folder.name)

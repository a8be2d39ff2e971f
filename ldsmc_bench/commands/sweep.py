"""The jobs of a command: none takes the others' results, and a table and a sheet end them."""

import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.cli import outputs, print_error
from ldsmc_bench.commands.messages import quoted
from ldsmc_bench.commands.status import most_frequent, reasons
from ldsmc_bench.errors import UserError, nearest, one_line
from ldsmc_bench.files import FULL, GROUPS
from ldsmc_bench.records.jobs import Job, Launch, keep, kept, launch_of, new_launch
from ldsmc_bench.records.problems import ProblemStore, columns, problem_of_run, read_picture
from ldsmc_bench.records.status import concluded, requested
from ldsmc_bench.records.store import Store, draw_stores, outcomes, read_image
from ldsmc_bench.report.sheet import ROWS, save_sheet
from ldsmc_bench.report.table import COST, table, with_error
from ldsmc_bench.running.limits import LIMITS
from ldsmc_bench.running.progress import stoppable
from ldsmc_bench.scoring.protocols import PROTOCOLS

if TYPE_CHECKING:
    from ldsmc_bench.report.frame import Images

log = logging.getLogger(__name__)
PATHS = ("results_dir", "dataset.root", "dataset.labels", "dataset.list", "prior.path")
CAPTIONS = {"method": "{}", "particles": "N={}", "steps": "{} steps"}

_launch: Launch | None = None  # of this process; Hydra hands nothing on from a callback
_here: dict[int, Job] = {}  # the jobs that ran in this process, which no full disk hides


def forget() -> None:
    """Begin anew: a process may be given several commands."""
    global _launch
    _launch = None
    _here.clear()


class Begin(Callback):
    """Hydra calls this before a command's first job. Its jobs are known by this launch, wherever Hydra puts them."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        global _launch
        try:
            if config.results_dir in (None, ""):
                raise UserError("results_dir: must name a folder")
            results = os.path.expanduser(str(config.results_dir))
            points, swept = expand(config, GlobalHydra.instance().config_loader())
        except (UserError, OmegaConfBaseException) as error:  # Hydra makes warnings of a callback's exceptions
            raise SystemExit(print_error(one_line(error))) from error
        waits = config.launch != "detached" or config.hydra.runtime.choices.get("hydra/launcher") != "slurm"
        count = None if points is None else len(points)
        _launch = Launch(str(new_launch(os.path.abspath(results))), count, swept, waits)
        known = json.dumps(asdict(_launch))
        with read_write(config), open_dict(config):  # jobs may run elsewhere
            config.hydra.callbacks.launch.known = known
            config.hydra.overrides.hydra.append(f"++hydra.callbacks.launch.known={quoted(known)}")
            if results != str(config.results_dir):
                config.results_dir = results
                config.hydra.overrides.hydra.append(f"results_dir={quoted(results)}")

    on_multirun_start = on_run_start


def expand(
    config: DictConfig, loader: ConfigLoader, *, sweep: bool = False
) -> tuple[list[list[str]] | None, list[str]]:
    """The overrides of each job that a configuration was composed for, and the keys that are swept. The jobs are None
    where a sweeper of the user's alone knows them.

    Raises UserError for several choices where one is meant, and for a key without a value.
    """
    sweep = sweep or config.hydra.mode == RunMode.MULTIRUN
    fixed = (config.hydra.sweeper.get("params") or {}) if sweep else {}
    parser = OverridesParser.create(config_loader=loader)
    lines = [*(f"{key}={value}" for key, value in fixed.items()), *_asked(config.hydra)]
    overrides = {one.get_key_element(): one for one in parser.parse_overrides(lines)}  # the last of a key counts
    for key in GROUPS:
        if key in overrides and isinstance(chosen := overrides[key].value(), list):
            choices = ",".join(map(str, chosen))
            line = f"{overrides[key].input_line}: a run has one {key}; -m {key}={choices} makes a run of each"
            raise UserError(line)
    if not sweep:
        return [_asked(config.hydra)], []
    swept = {key: one for key, one in overrides.items() if one.is_sweep_override()}
    discrete = {key: one for key, one in swept.items() if one.is_discrete_sweep()}
    for key, one in discrete.items():
        if not [*one.sweep_iterator()]:
            there = f"; {nearest('', options)}" if (options := loader.get_group_options(key)) else ""
            raise UserError(f"{one.input_line}: no value is meant by this, so nothing would run{there}")
    if discrete.keys() != swept.keys() or not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None, list(swept)
    batches = BasicSweeper.split_arguments(list(overrides.values()), None)
    return [list(point) for batch in batches for point in batch], list(swept)


def _asked(hydra: Any) -> list[str]:
    """The overrides of a command or job as they were written."""
    return cast(list[str], OmegaConf.to_container(hydra.overrides.task, resolve=False))


def job(cfg: DictConfig) -> None:
    """One run of a sweep. Whatever happens is kept as the job's note; nothing is raised."""
    with nullcontext() if _launch else outputs():  # in a process of its own, a job has no frame of a command's
        hydra = HydraConfig.get()
        number = 0 if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num  # a single run has none
        one, launch = Job(number, _asked(hydra), hydra.runtime.output_dir), _launch or launch_of(hydra)
        try:
            _from_the_commands_folder(cfg, hydra.runtime.cwd)
            one = replace(one, config=cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False)))
            one = replace(one, run_id=_run(cfg, hydra.runtime.choices, _place(launch, one)))
        except UserError as error:
            one = replace(one, error=one_line(error), mistake=True)
        except Exception as error:
            log.exception("the run broke off")
            if not (isinstance(error, OSError) and error.errno in FULL):
                traceback.print_exc()
            one = replace(one, error=f"{type(error).__name__}: {one_line(error)} (log: {one.log})")
        _here[number] = one
        try:
            keep(Path(launch.folder), one)
        except OSError:
            log.warning("%s: this job could not be noted", launch.folder)
        if launch.points != 1:
            result = one.error or _row(_store(one), _undone(one))
            print(f"{_place(launch, one)}: {result}", file=sys.stderr if one.error else sys.stdout, flush=True)


def _run(cfg: DictConfig, choices: Mapping[str, str], place: str) -> str:
    if choices.get("variant") != cfg.get("variant"):  # an experiment file with a plain `variant: ...`
        raise UserError(f"variant={cfg.variant}: is chosen, not set: write `- override /variant: ...` in defaults")
    if cfg.launch == "detached" and choices.get("hydra/launcher") != "slurm":
        raise UserError("launch=detached: only SLURM goes on without this command; add hydra/launcher=slurm")
    with stoppable():
        from ldsmc_bench.progress import bar  # and PyTorch with it
        from ldsmc_bench.run import run

        bar.label = place
        return run(cfg).run_id


def _from_the_commands_folder(cfg: DictConfig, folder: str) -> None:
    """Paths mean what they mean to the command, also where Hydra gives each job a folder of its own to work in."""
    for key in PATHS:
        with suppress(OmegaConfBaseException):  # the check of the settings says what is wrong
            if (value := OmegaConf.select(cfg, key)) not in (None, ""):
                path = os.path.expanduser(str(value))
                OmegaConf.update(cfg, key, path if os.getcwd() == folder else os.path.join(folder, path))


def _place(launch: Launch, one: Job) -> str:
    """`run 3/16 particles=5 seed=0`; nothing where it is the only one."""
    if launch.points == 1:
        return ""
    total = "" if launch.points is None else f"/{launch.points}"
    differing = [o for o in one.overrides if o.partition("=")[0].lstrip("+") in launch.swept]
    return " ".join([f"run {one.number + 1}{total}", *differing])


def _store(one: Job) -> Store:
    """The store of a job that has a run."""
    return Store(Path(one.asked.results_dir, "runs", str(one.run_id)), str(one.run_id))


def _undone(one: Job) -> str:
    """The reason why a run is not whole after a job without an error."""
    limited = any(one.asked.get(key) for key in LIMITS)
    return "not whole yet, the same command goes on" if limited else "this shard is done, others are not yet"


def _row(store: Store, undone: str) -> str:
    """A finished run in a line; `undone` of one that is not whole."""
    if (summary := concluded(store)) is None:
        return undone
    means = [(PROTOCOLS[name], mean) for name, mean in summary["metrics"].items() if name in PROTOCOLS]
    cells = [f"{one.label}={with_error(mean['mean'], mean['se'], one.digits)}" for one, mean in means]
    return ", ".join([*cells, *(f"{name}={COST[name](summary)}" for name in ("s/image", "images"))])


def report() -> int:
    """Print the outcome of this command; 0 when every run of it is whole, or as far as its shard or limit goes, 2 when
    mistakes of the user's ended all of them, else 1."""
    if _launch is not None and not _launch.waits:
        return 0
    done = jobs()
    failed = conclude(done)
    code = 2 if done and all(one.mistake for one in done) else int(bool(failed))
    if _launch is None:  # Hydra's rerun; or there was nothing to run
        return code
    submitted = [*Path(_launch.folder).glob("submitted-*.json")]  # there, points of the same work are one job
    wanted = max(1, len(done) if submitted or _launch.points is None else _launch.points)
    if len(done) < wanted:
        print_error(f"{wanted - len(done)} of {wanted} jobs left no note: they died, or never began")
    return code or int(len(done) < wanted)


def jobs() -> list[Job]:
    """The jobs of the command that this process has run last, by number."""
    noted = {} if _launch is None else {one.number: one for one in kept(Path(_launch.folder))}
    found = noted | _here
    return [found[number] for number in sorted(found)]


def conclude(jobs: Sequence[Job]) -> list[str]:
    """Print the table of the jobs' runs, the path of their sheet, and what failed; return what failed."""
    stores, summaries, failed = dict[str, Store](), [], []
    shared = set.intersection(*(set(one.overrides) for one in jobs)) if jobs else set()
    for one in jobs:
        name = " ".join(o for o in one.overrides if o not in shared)
        if one.error or one.run_id is None:
            error = one.error or f"the job died (log: {one.log})"
            failed.append(error if error.startswith(name) else f"{name}: {error}")
            continue
        if one.run_id in stores:
            continue
        store = stores[one.run_id] = _store(one)
        if (summary := concluded(store)) is None:
            print(f"{one.run_id}: {_undone(one)} (python -m ldsmc_bench status)")
            continue
        asked = " ".join(o for o in name.split() if not o.startswith("shard="))
        summaries.append({**summary, "asked": asked, "problem": getattr(problem_of_run(store), "problem_id", None)})
        if summary["n_failed"]:
            images = sum(summary[key] for key in ("n", "n_failed", "n_skipped"))
            line = f"{summary['n_failed']} of {images} images failed: {why([store])} ({store.root / 'records'})"
            failed.append(f"{name}: {line}" if name else line)
        if later := summary.get("draws_failed"):
            line = f"{later} draws failed: {why(draw_stores(store)[1:])} ({store.root / 'draws'}/*/records)"
            failed.append(f"{name}: {line}" if name else line)
    if summaries:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 240  # a log wraps no lines
        print(f"\n{table(summaries, width=width, images=_images(stores, summaries))}")
        try:
            for path in sheets([store for store in stores.values() if concluded(store)]):
                print(f"sheet: {path}")
        except UserError as error:
            failed.append(str(error))
    if summaries and not failed and not any(summary["n"] for summary in summaries):
        print(f"nothing was restored: {summaries[0].get('skipped', 'no image')}")
    for line in failed:
        print_error(line)
    return failed


def why(draws: Iterable[Store]) -> str:
    """The most frequent reason of failures in these draws, and how many others there are."""
    failed = reasons(draws).get("failed")
    return most_frequent(failed) if failed else "unknown"


def _images(stores: Mapping[str, Store], summaries: Sequence[Mapping[str, Any]]) -> "Images":
    """The images of runs, where there is something to compare, or particles."""
    if len(summaries) < 2 and not any(summary.get("particles", 1) > 1 for summary in summaries):
        return {}
    from ldsmc_bench.report import frame  # and pandas with it

    found: dict[str, Any] = {}
    with suppress(UserError, OSError):  # the summaries are printed in any case
        for summary in summaries:
            found |= frame.images(frame.rows(stores[summary["run_id"]].results_dir, [summary["run_id"]]))
    return found


def sheets(stores: Sequence[Store]) -> Iterable[Path]:
    """One picture sheet for each problem among the runs: what is kept of it, and a column for every run on it."""
    problems: dict[ProblemStore, list[Store]] = {}
    for store in stores:
        if problem := problem_of_run(store):
            problems.setdefault(problem, []).append(store)
    for problem, runs in problems.items():
        requests = [request for store in runs if (request := requested(store))]
        ids = list(requests[0].first[:ROWS])
        shown: dict[str, Any] = {
            column: [read_picture(problem, column, image_id) for image_id in ids] for column in columns(problem)
        }
        restored = False
        for store, caption in zip(runs, _captions([asdict(request.labels) for request in requests]), strict=True):
            found = outcomes(store, ids)
            shown[caption] = [read_image(store, i) if found.get(i) == "ok" else found.get(i, "missing") for i in ids]
            restored |= "ok" in found.values()
        if restored:
            labels, hashes = requests[0].labels, [store.run_id.split("-")[-1][:6] for store in runs]
            name = "-".join([labels.task, labels.dataset, *hashes])[:100]
            yield save_sheet(runs[0].results_dir / "figures" / f"{name}.png", shown)


def _captions(names: list[dict[str, Any]]) -> list[str]:
    """Captions that distinguish the runs, the method where nothing does; never the same twice."""
    varying = [key for key in CAPTIONS if len({name[key] for name in names}) > 1] or ["method"]
    from ldsmc_bench.report.select import display_name

    captions = [" ".join(CAPTIONS[key].format(display_name(key, name[key])) for key in varying) for name in names]
    return [c if captions.count(c) == 1 else f"{c} #{i + 1}" for i, c in enumerate(captions)]

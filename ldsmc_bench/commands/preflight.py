"""`ldsmc-bench preflight ARGUMENTS`: would this campaign run, and how long would it take? Nothing is kept.

Takes the arguments of the campaign's command, its launcher and its sweep included, and estimate=false to leave out the
short run that the time is judged by. That run is made here, so the judgement is of this machine: on a cluster, give the
command on a node with a GPU.
"""

import json
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from ldsmc_bench.cli import entry, print_error
from ldsmc_bench.cluster.submit import work
from ldsmc_bench.commands.messages import explaining, own_files
from ldsmc_bench.commands.run import flags_first
from ldsmc_bench.commands.status import duration
from ldsmc_bench.commands.sweep import expand
from ldsmc_bench.config import Settings, instantiate, problem_of, validate
from ldsmc_bench.errors import Unsupported, UserError, one_line
from ldsmc_bench.fetch.obtain import verified
from ldsmc_bench.fetch.sources import SOURCES, place
from ldsmc_bench.files import CONF, staged, writing
from ldsmc_bench.mixture.repeat import block_of, room_of
from ldsmc_bench.prior.compiled import to_device_and_compile
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.records.store import Store, read, record_path
from ldsmc_bench.running.device import images_at_once, most
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.running.restore import dry_run, sampled
from ldsmc_bench.scoring.metrics import suitable_metrics
from ldsmc_bench.scoring.protocols import PROTOCOLS

NO_ESTIMATE = ("--no-estimate", "estimate=false")
FEW, MORE = 2, 4  # steps of the two short runs that the time of all steps is judged by


@entry
def main() -> int:
    """Check every point of a sweep and print what it comes to; the exit code is 0, 1 if one would fail, 2 for a
    mistake in the command itself."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print(__doc__)
        return 0
    arguments = [one for one in given if one not in (*NO_ESTIMATE, "estimate=true")]
    with explaining(arguments):
        options = get_args_parser().parse_args(flags_first(arguments))
        overrides = [*options.overrides, *own_files(options.config_dir)]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return _inspect(overrides, options.config_name or "config", estimate=not set(NO_ESTIMATE) & set(given))


def _inspect(overrides: list[str], name: str, *, estimate: bool) -> int:
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(name, overrides, RunMode.MULTIRUN)
    points, _ = expand(config, loader, sweep=True)
    if points is None:
        raise UserError("hydra.sweeper: it alone knows its points, and only while it runs; leave it out here")
    load, compare = cache(_load), cache(lambda file: print(compared(file)))
    runs: dict[str, tuple[int, float, float | None]] = {}
    jobs, failures = set[str](), Counter[str]()
    for point in points:
        cfg = loader.load_sweep_config(config, point)
        HydraConfig.instance().set_config(cfg)  # whose choices name the file at fault
        jobs.add(work(cfg, point))
        with open_dict(cfg):
            cfg.pop("hydra")
        try:
            settings = validate(cfg)
            for file in fetched(settings.config):
                compare(file)
            parts = {part: settings.config[part] for part in ("dataset", "prior")}
            dataset, prior = (load(f"{p} {one['name']}", json.dumps(one["load"])) for p, one in parts.items())
            dry_run(settings, problem_of(settings, dataset), prior)
            run = run_id(identify(settings.config, dataset, prior))
            if run not in runs:
                short = [OmegaConf.merge(cfg, {"steps": steps}) for steps in (FEW, MORE) if estimate]
                runs[run] = _plan(settings, run, dataset, prior, [validate(cast(DictConfig, one)) for one in short])
        except UserError as error:
            failures[one_line(error)] += 1
    print(f"{len(points)} points are {len(jobs)} jobs and {len(runs)} runs{_total(config, len(jobs), runs.values())}")
    for line, count in failures.items():
        print_error(line + (f" ({count} points)" if count > 1 else ""))
    return 1 if failures else 0


def _load(name: str, node: str) -> Any:
    found = instantiate(json.loads(node))
    print(f"{name}: digest {found.digest[:12]}")
    return found


def fetched(config: Mapping[str, Any]) -> list[str]:
    """The fetched files that a run reads, as `prior=ldm_ffhq`: its prior's, where the command gives no path, and those
    of its metrics. The shipped ones are compared with their digests whenever they are loaded."""
    prior = config["prior"]
    own = f"prior={prior['name']}"
    weights = [own] if own in SOURCES and prior["path"] is None and not prior["random_weights"] else []
    size = prior["image_size"] or 0
    size = size if isinstance(size, int) else (prior.get("channels", 3), *size)
    metrics = [PROTOCOLS[metric].fetched for metric in suitable_metrics(size)]
    return [*weights, *dict.fromkeys(file for file in metrics if file)]


def compared(name: str) -> str:
    """The state of a fetched file, in a line. Raises UserError where it differs from the file that came; a metric may
    lack its file, since everything else can be scored without it."""
    if name.startswith("metric=") and not place(name, SOURCES[name]).is_file():
        return f"warning: {name} is not in the cache, so its columns stay empty: python -m ldsmc_bench fetch {name}"
    return f"{name}: SHA-256 {verified(name)[:12]}, as it came"


def _plan(
    settings: Settings, run: str, dataset: Dataset, prior: Prior, short: Sequence[Settings]
) -> tuple[int, float, float | None]:
    """Print and return how many images of a run are missing, how many it restores at once, and seconds an image: those
    of its records or, without any, by `short` runs. Raises UserError for what would stop it."""
    results = Path(settings.config["results_dir"])
    with writing(results):
        results.mkdir(parents=True, exist_ok=True)
        with staged(results / "preflight", b""):
            pass
    ids, store = list(dataset.ids[: settings.n_images]), Store(results / "runs" / run, run)
    each, at_once = 1, float(min(most(settings), len(ids)))
    if "trial" in settings.config["dataset"]:  # a record is of all draws, which are made by blocks
        shape, each = image_shape(prior), settings.draws
        at_once = block_of(shape) * room_of(shape, settings.labels.particles) / each
    there = read(store, ids) if (store.root / "records").exists() else []
    done = [record for record in there if record["status"] == "ok"]
    seconds = each * fmean(record["cost"]["seconds"] for record in done) if done else None
    if seconds is None and short:
        copies = max(1, min(each, int(each * at_once / len(ids))))
        seconds = each * _estimate(short, dataset, prior, settings.labels.steps, copies)
    draws = [Draw(image_id, number) for number in range(1, settings.draws // each) for image_id in ids]
    later = [one for one in draws if not record_path(replace(store, draw=one.number), one.image_id).exists()]
    missing = len(ids) - sum(record.get("draws", each) >= each for record in done) + len(later)
    names = " ".join(f"{key}={value}" for key, value in asdict(settings.labels).items())
    time = "" if seconds is None else f", {seconds:.3g} s an image: {duration(missing * seconds)}"
    print(f"{names}: {missing} images missing{time}", flush=True)
    return missing, at_once, seconds


def _estimate(short: Sequence[Settings], dataset: Dataset, prior: Prior, steps: int, draws: int) -> float:
    """Seconds a draw, from two short runs of one batch, so many `draws` of each image: what each step adds, and what
    comes on top once."""
    few = short[0]
    prior = to_device_and_compile(prior, few.device, few.network_dtype, few.compile)
    ids = dataset.ids[: min(images_at_once(few, prior), few.n_images)]
    batch = load_batch(
        problem_of(few, dataset), [Draw(one, number) for number in range(draws) for one in ids], image_shape(prior)
    )
    if batch.unreadable:
        raise UserError(next(iter(batch.unreadable.values())))
    try:
        _, least, longer = (  # the first run of all also warms the machine up
            sampled(instantiate(one.config["method"]["sample"]), prior, batch, one, Progress(one))[0].cost["seconds"]
            for one in (few, *short)
        )
    except Unsupported:
        return 0.0
    return least + max(0.0, longer - least) / (MORE - FEW) * (steps - FEW)


def _total(config: DictConfig, jobs: int, runs: Collection[tuple[int, float, float | None]]) -> str:
    """The time of the campaign, where that of each run is known."""
    times = [(missing, batch, seconds) for missing, batch, seconds in runs if seconds is not None]
    if not times or len(times) < len(runs):
        return ""
    total, longest = (sum(missing * s for missing, _, s in times), max(batch * s for _, batch, s in times))
    launcher = config.hydra.launcher
    at_once, limit = min(jobs, launcher.get("array_parallelism", 1)), launcher.get("timeout_min")
    text = f"\nin all about {duration(total)} of computing, {duration(total / at_once)} with {at_once} jobs at once"
    if not limit or longest <= 60 * limit - launcher.signal_delay_s:
        return text
    return (
        f"{text}\nwarning: one batch takes {duration(longest)}, longer than a job of {limit} min may: it would never "
        "get done; raise hydra.launcher.timeout_min, or lower batch_size"
    )

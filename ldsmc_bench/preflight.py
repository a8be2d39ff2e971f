"""`python -m ldsmc_bench.preflight ARGUMENTS`: would this campaign run, and how long would it take? Nothing is kept.

Takes the arguments of the campaign's command, its launcher and its sweep included, and --no-estimate to leave out the
short run that the time is judged by. That run is made here, so the judgement is of this machine: on a cluster, give the
command on a node with a GPU.
"""

import json
import os
import runpy
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from ldsmc_bench.cluster.submit import work
from ldsmc_bench.errors import Unsupported, UserError

FEW, MORE = 2, 4  # steps of the two short runs that the time of all steps is judged by


@dataclass(frozen=True)
class Plan:
    """A run of the campaign: what it is called, how many of its images are missing, and seconds an image, if known."""

    labels: dict[str, Any]
    missing: int
    seconds: float | None
    batch: int


def inspect(config: DictConfig, loader: Any, sweep: Sequence[Sequence[str]]) -> None:
    """Check every point of a sweep, print what it comes to, and exit with 1 if one would fail."""
    estimate = "LDSMC_NO_ESTIMATE" not in os.environ
    made: dict[str, Any] = {}
    plans: dict[str, Plan] = {}
    jobs, failures = set[str](), Counter[str]()
    for overrides in sweep:
        cfg = loader.load_sweep_config(config, list(overrides))
        jobs.add(work(cfg, overrides))
        try:
            _plan(_bare(cfg), made, plans, estimate=estimate)
        except UserError as error:
            failures[" ".join(str(error).split())] += 1
    print("\n".join(_told(config, len(sweep), len(jobs), list(plans.values()))))
    for line, points in failures.items():
        print(f"error: {line}" + (f" ({points} points)" if points > 1 else ""), file=sys.stderr)
    sys.exit(1 if failures else 0)


def _bare(cfg: DictConfig) -> DictConfig:
    """A point as its job sees it."""
    with open_dict(cfg):
        cfg.pop("hydra")
    return cfg


def _plan(cfg: DictConfig, made: dict[str, Any], plans: dict[str, Plan], *, estimate: bool) -> None:
    """Note the run of a point among `plans`, unless it is there. Raises UserError for what would stop it."""
    from ldsmc_bench.batch import rehearse
    from ldsmc_bench.batch_size import most
    from ldsmc_bench.records.identity import run_id
    from ldsmc_bench.records.publish import staged, writing
    from ldsmc_bench.records.store import Store, finished, read
    from ldsmc_bench.run import identified
    from ldsmc_bench.settings import checked
    from ldsmc_bench.settings import made as make

    settings = checked(cfg)
    for name in fetched(settings.config):
        if name not in made:
            made[name] = compared(name)
            print(made[name])
    for part in ("dataset", "prior"):
        key = json.dumps(settings.config[part]["load"], sort_keys=True)
        if key not in made:
            made[key] = make(settings.config[part]["load"])
            print(f"{part} {settings.config[part]['name']}: digest {made[key].digest[:12]}")
    dataset, prior = (made[json.dumps(settings.config[part]["load"], sort_keys=True)] for part in ("dataset", "prior"))
    rehearse(settings, prior)
    name = run_id(identified(settings, dataset, prior))
    if name in plans:
        return
    results = Path(settings.config["results_dir"])
    with writing(results):
        results.mkdir(parents=True, exist_ok=True)
        with staged(results / "preflight", b""):
            pass
    ids = list(dataset.ids[: settings.n_images])
    store = Store(results / "runs" / name, name)
    done = finished(store, ids) if (store.root / "records").exists() else set()
    kept = read(store, sorted(done)) if done else []
    known = [record["cost"]["seconds"] for record in kept if "seconds" in record["cost"]]
    steps = settings.labels["steps"]
    if known:
        seconds: float | None = fmean(known)
    elif estimate:
        short = [checked(cast(DictConfig, OmegaConf.merge(cfg, {"steps": number}))) for number in (FEW, MORE)]
        seconds = _judged(short, dataset, prior, steps)
    else:
        seconds = None
    plans[name] = Plan(settings.labels, len(ids) - len(done), seconds, min(most(settings), len(ids)))


def fetched(config: Mapping[str, Any]) -> list[str]:
    """The fetched files that a run reads, as `prior=ldm_ffhq`: its prior's, where the command gives no path, and those
    of its metrics. The shipped ones are compared with their digests whenever they are loaded."""
    from ldsmc_bench.fetch.sources import SOURCES
    from ldsmc_bench.scoring.choice import suited
    from ldsmc_bench.scoring.protocols import PROTOCOLS

    prior = config["prior"]
    own = f"prior={prior['name']}"
    weights = [own] if own in SOURCES and prior["path"] is None and not prior["random_weights"] else []
    metrics = [PROTOCOLS[metric].fetched for metric in suited(prior["image_size"])]
    return [*weights, *dict.fromkeys(file for file in metrics if file)]


def compared(name: str) -> str:
    """What a fetched file is, in a line. Raises UserError where it is not what it was when it came; a metric may lack
    its file, since all else can be scored without."""
    from ldsmc_bench.fetch.obtain import verified
    from ldsmc_bench.fetch.places import place
    from ldsmc_bench.fetch.sources import SOURCES

    if name.startswith("metric=") and not place(name, SOURCES[name]).is_file():
        return f"warning: {name} is not in the cache, so its columns stay empty: python -m ldsmc_bench.fetch {name}"
    return f"{name}: SHA-256 {verified(name)[:12]}, as it came"


def _judged(short: Sequence[Any], dataset: Any, prior: Any, steps: int) -> float:
    """Seconds an image, from two short runs of one batch: what each step adds, and what comes on top once."""
    from ldsmc_bench.batch import sampled
    from ldsmc_bench.batch_size import images_at_once
    from ldsmc_bench.pose import pose
    from ldsmc_bench.prior.compiled import ready
    from ldsmc_bench.settings import made

    few = short[0]
    prior = ready(prior, few.device, few.network_dtype, few.compile)
    posed = pose(few, dataset, dataset.ids[: min(images_at_once(few, prior), few.n_images)])
    if posed.unreadable:
        raise UserError(next(iter(posed.unreadable.values())))

    def seconds(settings: Any) -> float:
        sample = made(settings.config["method"]["sample"])
        return sampled(sample, prior, posed, settings, lambda images: None)[0].cost["seconds"]

    try:
        seconds(few)  # the first run of all also warms the machine up
        least, most = (seconds(settings) for settings in short)
    except Unsupported:
        return 0.0
    return least + max(0.0, most - least) / (MORE - FEW) * (steps - FEW)


def _told(config: DictConfig, points: int, jobs: int, plans: Sequence[Plan]) -> list[str]:
    """What the campaign comes to, in lines."""
    lines = [f"{points} points are {jobs} jobs and {len(plans)} runs:"]
    for plan in plans:
        each = "" if plan.seconds is None else f", {plan.seconds:.3g} s an image: {_hours(plan.missing * plan.seconds)}"
        names = " ".join(f"{key}={value}" for key, value in plan.labels.items())
        lines.append(f"  {names}: {plan.missing} images missing{each}")
    if plans and all(plan.seconds is not None for plan in plans):
        total = sum(plan.missing * (plan.seconds or 0.0) for plan in plans)
        at_once = min(jobs, config.hydra.launcher.get("array_parallelism", 1))
        lines.append(
            f"in all about {_hours(total)} of computing, {_hours(total / at_once)} with {at_once} jobs at once"
        )
        limit = config.hydra.launcher.get("timeout_min")
        longest = max(plan.batch * (plan.seconds or 0.0) for plan in plans)
        if limit and longest > 60 * limit - config.hydra.launcher.signal_delay_s:
            lines.append(
                f"warning: one batch takes {_hours(longest)}, longer than a job of {limit} min may: it would never "
                "get done; raise hydra.launcher.timeout_min, or lower batch_size"
            )
    return lines


def _hours(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def main(arguments: Sequence[str]) -> None:
    """The campaign's own command, with a launcher that looks instead of running."""
    if "--no-estimate" in arguments:
        os.environ["LDSMC_NO_ESTIMATE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        looking = ["hydra.launcher._target_=hydra_plugins.ldsmc_bench_launchers.Preflight", "~hydra.callbacks.report"]
        given = [argument for argument in arguments if argument != "--no-estimate"]
        sys.argv[1:] = ["-m", *given, *looking, f"hydra.sweep.dir={folder}"]
        runpy.run_module("ldsmc_bench", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

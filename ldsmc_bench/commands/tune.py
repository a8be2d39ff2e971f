"""`ldsmc-bench tune method=dps task=box`: search for a method's hyper-parameters on validation images.

Takes the keys of a run's command; comma lists are a search of each. `search` in the method's YAML names the arguments
and their ranges. Optuna proposes values, each trial is a run in results_dir, and a trial that a paired test finds worse
than the best is stopped after a few images. Every method has the same budget: the trials' denoiser calls (forward) over
all images. The values of the best trial become the row of the task in conf/tuned, with all trials in a CSV beside it.
Killed, it goes on with the same command; with a larger budget it goes on from there.
"""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.cli import Options, entry, going_on
from ldsmc_bench.commands.messages import explaining, own_files
from ldsmc_bench.config import compose, instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF, write_file
from ldsmc_bench.report.statistics import standard_error
from ldsmc_bench.report.table import with_error
from ldsmc_bench.running.limits import LIMITS
from ldsmc_bench.running.progress import stoppable
from ldsmc_bench.speed.setup import expand_sweep
from ldsmc_bench.tuning.objective import Objective, parse
from ldsmc_bench.tuning.rows import list_table, rows_of, write_row
from ldsmc_bench.tuning.search import Limits, Trial, Values, best_of, search, space_of
from ldsmc_bench.tuning.trials import (
    evaluator,
    first_trial,
    present_value,
    row_key,
    store_of,
    values_at_hand,
    with_values,
)

# Of a trial's run, unless the command has others: 16 images, a look at each four.
DEFAULTS = ("n_images=16", "batch_size=4", "results_dir=results/tune", "wandb.mode=disabled", "observers.progress=null")
HERE = ("results_dir", "device", "wandb.mode")  # keys of this machine alone
ENDS = {"worse": "stopped, worse than the best", "failed": "an image failed", "budget": "the budget is spent"}


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Tune; 0, or 1 where one of several searches could not."""
    parser = Options("tune", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run, method and task at least")
    budget = "of all trials (default: %(default)s)"
    parser.add_argument("--budget", type=int, default=8000, metavar="CALLS", help=budget)
    metric = "a stored one of an image, log(one), or a weighted pair as a+0.01*b (default: tuned_by of the data set)"
    parser.add_argument("--metric", help=metric)
    equal = "leave out of the search what changes the denoiser's calls, `calls: true` in method.search"
    parser.add_argument("--equal-calls", action="store_true", help=equal)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the tables (default: conf/tuned)")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="of your own YAML files")
    options = parser.read(arguments)
    own_files(options.config_dir)  # better to learn of a mistake in it now
    if options.budget < 1:
        raise UserError(f"budget={options.budget}: must be a number of denoiser calls, at least 1")
    failed: list[str] = []
    with explaining(options.overrides), stoppable():
        points = expand_sweep(options.overrides)
        for point in points:
            if len(points) == 1:
                tune(point, options)
                continue
            with going_on(failed, " ".join(point)):
                tune(point, options)
    return min(len(failed), 1)


def tune(overrides: Sequence[str], options: argparse.Namespace) -> None:
    """Search, print each trial, and write what came of it. Raises UserError."""
    cfg = composed(overrides, options.config_dir)
    require_validation(cfg, overrides)
    if cfg.weighted and options.out is None:
        raise UserError("weighted=true: a method has one row, for both forms; tune it without, or give out=FOLDER")
    method, (table, own) = cfg.method.name, (cfg[part].get("tuning") for part in ("prior", "task"))
    for part, name in (("prior", table), ("task", own)):
        if not name:
            raise UserError(f"{part}.tuning: {part}={cfg[part].name} names none; add tuning: <name> to its YAML")
    row = cfg.tuned_row
    path = (options.out or (options.config_dir or CONF) / "tuned") / table / f"{method}.yaml"
    rows_of(path)  # better to learn of a mistake in it now
    objective = objective_of(cfg, options.metric)
    axes: Any = OmegaConf.to_container(cfg.method.get("search") or OmegaConf.create({}))
    if isinstance(axes, dict):  # an argument that the command sets is fixed
        axes = {name: axis for name, axis in axes.items() if f"method.sample.{name}" not in keys_of(overrides)}
        if options.equal_calls:
            axes = {name: axis for name, axis in axes.items() if not (isinstance(axis, dict) and axis.get("calls"))}
    space = space_of(axes, method)
    variant = "" if cfg.variant == "default" else f"-{cfg.variant}"
    kept = path.parent / "trials" / f"{method}{variant}-{row}.csv"
    start = values_at_hand(cfg, space)
    settings = validate(with_values(cfg, start or {name: axis.first for name, axis in space.items()}, cfg.n_images))
    dataset, prior = (instantiate(settings.config[part]["load"]) for part in ("dataset", "prior"))
    batch = settings.batch_size if settings.batch_size != "auto" else 4
    limits = Limits(min(settings.n_images, len(dataset.ids)), batch, options.budget)

    def run_of(values: Values) -> str:
        return store_of(validate(with_values(cfg, values, 1)), dataset, prior).run_id

    if former := first_trial(kept, space, run_of):  # what the method has now may come from that very search
        start = former[0] if former[1] else {}
    print(f"{without(overrides, HERE)}: the least {objective} on {limits.images} validation images")
    trials: list[Trial] = []
    for trial in search(space, start, evaluator(cfg, objective, dataset, prior), limits, settings.seed):
        trials.append(trial)
        print(progress(trials, objective, limits), flush=True)
    if (best := best_of(trials)) is None:
        folder = settings.config["results_dir"]
        raise UserError(f"{method}: no trial restored all {limits.images} images; the records in {folder} say why")

    save_trials(kept, trials, [run_of(one.values) for one in trials], start)
    score = f"{objective} {with_error(best.mean, best.se, objective.digits)}"
    command = f"tune {without(overrides, HERE)} metric={options.metric or cfg.dataset.tuned_by} budget={limits.budget}"
    note = f"{score}, least of {len(trials)} trials (trials/{kept.name}) on {limits.images} images: `{command}`"
    found = {row_key(cfg, name): value for name, value in best.values.items()}
    followers = write_row(path, row, dict(cfg.tuned or {}) | found, note)  # whole, also where another row served so far
    list_table(path.parents[1] / f"{method}.yaml", table, method)
    print(f"row {row} of {path}{''.join(f', and {other}, which is as it is' for other in followers)}; trials: {kept}")
    if start and best is not trials[0] and trials[0].end == "whole":
        print(f"less than with the first values: {difference(trials[0], best, objective)}")
    print(f"to use it: {usage(composed(overrides, options.config_dir), best, overrides, options.out)}")


def without(overrides: Sequence[str], keys: Collection[str]) -> str:
    """The overrides but for those of these keys, as a command has them."""
    return " ".join(one for one in overrides if one.partition("=")[0] not in keys)


def keys_of(overrides: Sequence[str]) -> set[str]:
    return {one.lstrip("+").partition("=")[0] for one in overrides}


def composed(overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    """The configuration of a trial, with the values that the method has now."""
    return compose(*own_files(config_dir), *DEFAULTS, *overrides)


def require_validation(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Set the data set to its validation images. Raises UserError where it has none, or the command asks for others,
    and for keys that a search cannot have."""
    name, chosen = cfg.dataset.name, cfg.dataset.get("tuned_on")
    if chosen is None:
        remedy = "add tuned_on to its YAML: the keys and values that choose them, {} where all are"
        raise UserError(f"dataset={name}: names no validation images; {remedy}")
    for key, value in chosen.items():
        if f"dataset.{key}" in keys_of(overrides) and cfg.dataset[key] != value:
            wrong = f"dataset.{key}={cfg.dataset[key]}"
            raise UserError(f"{wrong}: tuning takes validation images, dataset.{key}={value}; leave it out")
        cfg.dataset[key] = value
    if cfg.shards != 1:
        raise UserError(f"shards={cfg.shards}: a search is one process; leave it out")
    for key in LIMITS:
        if cfg[key] is not None:
            raise UserError(f"{key}={cfg[key]}: of a run; what a search may spend is budget=...")
    if cfg.draws != 1 and not cfg.dataset.get("trial"):
        raise UserError(f"draws={cfg.draws}: a trial is one draw of each image; leave it out")


def objective_of(cfg: DictConfig, metric: str | None) -> Objective:
    """The objective of the command, or of the data set. Raises UserError where neither has one."""
    if not (text := metric or cfg.dataset.get("tuned_by")):
        raise UserError(f"metric: dataset={cfg.dataset.name} has no tuned_by; give one, as metric=psnr")
    return parse(text)


def progress(trials: Sequence[Trial], objective: Objective, limits: Limits) -> str:
    """The last trial, what is spent, and the best trial so far, in a line."""
    last, best, digits = trials[-1], best_of(trials), objective.digits
    values = " ".join(f"{name}={value}" for name, value in last.values.items())
    mean = with_error(last.mean, last.se, digits) if last.losses else "--"
    end = "" if last.end == "whole" else f" ({ENDS[last.end]}, {len(last.losses)} of {limits.images} images)"
    spent = f"{sum(one.calls for one in trials):.0f} of {limits.budget} calls"
    leader = "none yet" if best is None else f"trial {best.number}, {with_error(best.mean, best.se, digits)}"
    return f"trial {last.number}: {values}: {mean}{end}; {spent}; best: {leader}"


def save_trials(path: Path, trials: Sequence[Trial], runs: Sequence[str], start: Values) -> None:
    """Write a row for each trial: values, mean and standard error over the images that it had, calls, end, run, and
    who proposed the values: the method those of the first where there is a `start`."""
    rows = [
        {
            "trial": one.number,
            **{name: str(value) for name, value in one.values.items()},
            "mean": one.mean,
            "se": one.se,
            "images": len(one.losses),
            "calls": one.calls,
            "end": one.end,
            "run_id": run,
            "proposed_by": "method" if start and one.number == 0 else "optuna",
        }
        for one, run in zip(trials, runs, strict=True)
    ]
    write_file(path, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g").encode())


def difference(before: Trial, best: Trial, objective: Objective) -> str:
    """The gain of the best trial over an earlier one, a mean over the same images."""
    apart = np.array(before.losses) - np.array(best.losses)
    mean = with_error(float(apart.mean()), standard_error(apart), objective.digits)
    return f"{mean} (paired; other images decide if that is so)"


def usage(cfg: DictConfig, best: Trial, overrides: Sequence[str], out: Path | None) -> str:
    """The command that takes the values, and what to do for good where the method does not read them from the table
    that was written: copy that from the folder `out`, or add to the method's YAML."""
    command = f"python -m ldsmc_bench {without(overrides, (*HERE, 'n_images', 'batch_size'))}"
    if all(present_value(cfg, name) == value for name, value in best.values.items()):
        return command
    values = " ".join(f"method.sample.{name}={value}" for name, value in best.values.items())
    method, name = cfg.method.name, next(iter(best.values))
    if out:
        return f"{command} {values}\nfor good: copy the row from {out} to conf/tuned"
    entry = f"{name}: ${{oc.select:tuned.{row_key(cfg, name)},...}}"
    entries = f"`optional /tuned@tuning: {method}` in its defaults, and `{entry}` in sample"
    return f"{command} {values}\n{method} does not read that row: for good, its YAML needs {entries}"


if __name__ == "__main__":
    sys.exit(main())

"""Trials as runs: the arguments of a method in a configuration, and the images of a run with others."""

import csv
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.config import Settings, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, read
from ldsmc_bench.run import run
from ldsmc_bench.tuning.objective import Objective
from ldsmc_bench.tuning.search import Evaluate, Scored, Space, Values


def present_value(cfg: DictConfig, name: str) -> Any:
    """The method's value of an argument now; None where its table has no row for this task."""
    try:
        return OmegaConf.select(cfg, f"method.sample.{name}")
    except OmegaConfBaseException:
        return None


def row_key(cfg: DictConfig, name: str) -> str:
    """The entry of a row that an argument is read from: latent_dps' zeta is its row's kappa1."""
    sample = OmegaConf.to_container(cfg.method.sample, resolve=False)
    found = re.search(r"\btuned\.(\w+)", str(sample[name]) if isinstance(sample, dict) else "")
    return found[1] if found else name


def with_values(cfg: DictConfig, values: Values, images: int) -> DictConfig:
    """The configuration with these arguments of the method, on the first images."""
    own = deepcopy(cfg)
    own.n_images = images
    for name, value in values.items():
        OmegaConf.update(own, f"method.sample.{name}", value)
    return own


def store_of(settings: Settings, dataset: Dataset, prior: Prior) -> Store:
    """The store of a run, whether it has begun or not."""
    name = run_id(identify(settings.config, dataset, prior))
    return Store(Path(settings.config["results_dir"], "runs", name), name)


def values_at_hand(cfg: DictConfig, space: Space) -> Values:
    """The method's values now, where they are in the space; else none."""
    values = {name: present_value(cfg, name) for name in space}
    return values if all(values[name] in axis for name, axis in space.items()) else {}


def first_trial(path: Path, space: Space, name_of: Callable[[Values], str]) -> tuple[Values, bool] | None:
    """The values of the first trial that a CSV keeps, and whether they were those at hand then; None unless `name_of`
    gives its run the name that it has there: it is then the same search."""
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file), {})
    try:
        values = {name: axis.read(row[name]) for name, axis in space.items()}
    except (KeyError, ValueError):
        return None
    return (values, row.get("proposed_by") == "method") if name_of(values) == row.get("run_id") else None


def evaluator(cfg: DictConfig, objective: Objective, dataset: Dataset, prior: Prior) -> Evaluate:
    """Scores by runs in the store: images that are there are read, the others restored.

    An image that failed is not tried again, and costs as much as the dearest of the trial, or a call a step. Raises
    UserError for a task that the method cannot do.
    """

    def evaluate(values: Values, images: int) -> Sequence[Scored]:
        config = with_values(cfg, values, images)
        settings = validate(config)
        store, ids = store_of(settings, dataset, prior), dataset.ids[:images]

        def records() -> list[Record]:
            there = read(store, ids) if store.root.exists() else []
            return [one for one in there if one.get("draws", settings.draws) >= settings.draws]

        if len(records()) < len(ids):
            run(config)
        found = records()
        if reasons := [one["error"] for one in found if one["status"] == "skipped"]:
            raise UserError(reasons[0])
        calls = [one["cost"].get("denoiser_forward", 0.0) * one.get("draws", 1) for one in found]
        dearest = max([*calls, float(settings.labels.steps)])
        return [
            Scored(objective.of(one["metrics"]), cost) if one["status"] == "ok" else Scored(None, dearest)
            for one, cost in zip(found, calls, strict=True)
        ]

    return evaluate

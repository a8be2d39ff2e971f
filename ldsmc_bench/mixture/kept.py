"""The distances of a finished run's draws, computed from those that it keeps; kept in the run's `distances.json`."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import read_json, write_file
from ldsmc_bench.mixture.distances import DISTANCES, Score, distances, yardstick
from ldsmc_bench.mixture.repeat import answer, read_draws
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.records.store import Store, finished

VERSION = 1  # raise it when a distance changes, so that kept ones are computed again


def world_of(config: DictConfig) -> str:
    """The name of the posteriors that a run draws from: `dataset.world`, or its task and data set."""
    world = config.dataset.get("world") or f"{config.task.name} {config.dataset.name}"
    return " ".join(str(world).split())


def judge_kept(
    store: Store, config: Mapping[str, Any], names: Collection[str] = tuple(DISTANCES)
) -> dict[str, dict[str, Score]]:
    """By problem, the distances of these names of the draws that a run keeps; `config` is its configuration, not
    resolved. Raises UserError where it has no draws of a known posterior."""
    settings = validate(OmegaConf.create(dict(config)))
    dataset, prior = (instantiate(settings.config[part]["load"]) for part in ("dataset", "prior"))
    problem, path = problem_of(settings, dataset), store.root / "distances.json"
    kept, found = read_json(path), dict[str, Any]()
    ids = dataset.ids[: settings.n_images]
    done = finished(store, ids)
    for draw in first_draws([one for one in ids if one in done]):
        drawn = read_draws(store, draw.image_id, settings.draws, prior.shape)
        if drawn is None:
            continue
        draws = drawn["draws"].double()
        key = [VERSION, len(draws), sorted(names)]
        one = kept.get(draw.image_id, {})
        if one.get("of") != key:
            known = answer(prior, load_batch(problem, [draw], prior.shape), 0)
            scores = distances(draws, yardstick(known.posterior, len(draws), names))
            one = {"of": key, "scores": {name: list(score) for name, score in scores.items()}}
        found[draw.image_id] = one
    if not found:
        raise UserError(
            f"{store.root} keeps no draws of a problem whose posterior is known; run it with dataset=mixture"
        )
    if found != kept:
        write_file(path, (json.dumps(found) + "\n").encode())
    return {name: {key: Score(*values) for key, values in one["scores"].items()} for name, one in found.items()}

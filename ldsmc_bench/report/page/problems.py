"""The problem of a run made again from what the store holds: truths and measurements, bit for bit those of the run."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.jobs import jobs

Pictures = dict[str, NDArray[np.uint8]]  # by image id, (H,W,3)
UNREAD = {"noise_std": 0.0, "poisson_rate": 1.0}  # the one of both that a run does not read is not in its config.yaml
SPLITS = ("test", "validation")


def posed(
    config: Mapping[str, Any], side: int, loads: Sequence[Mapping[str, Any]]
) -> Callable[[Sequence[str]], tuple[Pictures, Pictures]]:
    """A function of image ids that gives their truths and measurements, as two `Pictures`, for a run.

    `config` is its config.yaml, `side` that of its pictures, `loads` the ways to the data set that were asked for (see
    `asked`). An image that can no longer be read is in neither. Raises UserError where the data set cannot be had as
    the run saw it.
    """
    import torch  # here, since a page whose pictures are all made needs none of it

    from ldsmc_bench.pose import pose
    from ldsmc_bench.report.sheet import measurement_pictures
    from ldsmc_bench.settings import Settings

    dataset = _dataset(config["dataset"], loads)
    parts = {
        "task": {**UNREAD, **config["task"]},
        "measurement": {**UNREAD, **config["measurement"]},
        "dataset": config["dataset"],
        "prior": {**config["prior"], "image_size": side},
    }
    settings = Settings(parts, {}, 1, config["seed"], 1, 0, 1, torch.device("cpu"), config["precision"])

    def pictures(ids: Sequence[str]) -> tuple[Pictures, Pictures]:
        given = pose(settings, dataset, [image_id for image_id in ids if image_id in known])
        if given.measurement is None:
            return {}, {}
        both = (given.truths, measurement_pictures(given.measurement))
        truths, measurements = (dict(zip(given.ids, t.permute(0, 2, 3, 1).numpy(), strict=True)) for t in both)
        return truths, measurements

    known = set(dataset.ids)
    return pictures


def asked(results_dir: Path) -> Callable[[str], Sequence[Mapping[str, Any]]]:
    """For a run id, what `dataset.load` was in the commands that made it, the latest first, as their logs tell.

    A run's own config.yaml has no such thing: where pictures lie is not part of a run's identity.
    """
    found: dict[str, list[Path]] = {}
    for run_id, folder in reversed(jobs(results_dir)):
        found.setdefault(run_id, []).append(folder)
    return lambda run_id: list(_loads(found.get(run_id, [])))


def _loads(jobs: Iterable[Path]) -> Iterator[Mapping[str, Any]]:
    for folder in jobs:
        try:
            load = OmegaConf.load(folder / ".hydra" / "config.yaml").dataset.load
            yield cast(dict[str, Any], OmegaConf.to_container(load, resolve=True))
        except (OSError, AttributeError, OmegaConfBaseException):
            continue


def _dataset(wanted: Mapping[str, Any], loads: Sequence[Mapping[str, Any]]) -> Any:
    """The data set of that name and digest. Raises UserError where none of the ways leads to it."""
    if wanted["name"] == "mixture":
        raise UserError("dataset=mixture: what is measured are vectors, not pictures")
    if wanted["name"] == "toyfaces":
        loads = [{"_target_": "ldsmc_bench.problem.datasets.toyfaces", "split": split} for split in SPLITS]
    why = f"dataset={wanted['name']}: no log in results/logs tells where its pictures lie"
    for load in loads:
        try:
            dataset = _loaded(json.dumps(load))
        except UserError as error:
            why = str(error)
            continue
        if dataset.digest == wanted["digest"]:
            return dataset
        why = f"dataset={wanted['name']}: its images are no longer those that the run saw"
    raise UserError(why)


@cache  # a drawn data set is quick to make, a listed one looks for each of its files
def _loaded(load: str) -> Any:
    from ldsmc_bench.settings import made

    return made(json.loads(load))

"""One run, or one shard of it: what is missing → measure → sample → score → keep."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
import yaml
from omegaconf import DictConfig

from ldsmc_bench.batch import keep_unrestored, rehearse, restore, score_and_keep
from ldsmc_bench.batch_size import images_at_once
from ldsmc_bench.calibration import calibrated, calibration_due
from ldsmc_bench.cluster.notes import note
from ldsmc_bench.code_digest import agree_on_code
from ldsmc_bench.known import repeat_and_keep
from ldsmc_bench.pose import pixels, pose
from ldsmc_bench.prior.compiled import ready
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.prior.mixture import MixturePrior
from ldsmc_bench.prior.random_weights import learned, unscored
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.progress import Progress
from ldsmc_bench.provenance import provenance
from ldsmc_bench.records.identity import PROTOCOL_VERSION, run_id
from ldsmc_bench.records.status import Request, request, requested
from ldsmc_bench.records.store import (
    Store,
    finished,
    open_store,
    outcomes,
    read,
    read_image,
    read_summary,
    write_summary,
)
from ldsmc_bench.records.view import refresh
from ldsmc_bench.report.summary import not_converged, summarise
from ldsmc_bench.report.wandb_mirror import mirrored
from ldsmc_bench.report.wandb_part import Part
from ldsmc_bench.scoring.choice import completed, image_metrics, set_scores
from ldsmc_bench.settings import Settings, checked, made, telling


def run(cfg: DictConfig) -> Store:
    """Bring the run that `cfg` describes to its end, or this shard of it, and return where it is kept.

    What is finished already is left alone. Raises UserError for the user's mistakes; an image that cannot be read or
    restored has a failed record, and the others go on.
    """
    settings = checked(cfg)
    dataset, prior = (made(settings.config[part]["load"]) for part in ("dataset", "prior"))
    rehearse(settings, prior)
    identity = identified(settings, dataset, prior)
    store = open_store(settings.config["results_dir"], run_id(identity), described(identity))
    ids = list(dataset.ids[: settings.n_images])
    variant = settings.config["variant"]
    request(store, Request(ids=len(ids), dataset_size=len(dataset.ids), variant=variant, **settings.labels))

    mine = ids[settings.shard :: settings.shards]
    done = finished(store, mine)
    going_on = not done.issuperset(mine)
    agree_on_code(store, settings.config, going_on=going_on)
    if going_on:
        prior = ready(prior, settings.device, settings.network_dtype, settings.compile)
    batches = unfinished(mine, done, images_at_once(settings, prior)) if going_on else []
    part = Part(store, settings.shard, settings.shards)
    note(store, settings.shard, settings.shards, batches)
    with mirrored(part, settings.config, ids, live=bool(batches)):
        if batches:
            metrics = image_metrics(prior.image_size, settings.device) if learned(prior) else None
            if calibration_due(settings, prior):
                prior = calibrated(settings, prior)
            sample = made(settings.config["method"]["sample"])
            with closing(Progress(settings, batches)) as progress:
                for batch in batches:
                    posed = pose(settings, dataset, batch)
                    keep_unrestored(store, settings, "failed", posed.unreadable)
                    if isinstance(prior, MixturePrior):
                        repeat_and_keep(store, settings, sample, prior, posed, progress.tick)
                        continue
                    for some, restored in restore(sample, prior, posed, settings, progress.tick):
                        score_and_keep(store, settings, some, restored, metrics)
                progress.finish()

        why_unscored = None if learned(prior) else unscored(settings.config["prior"]["name"])
        conclude(store, dataset, settings.device, why_unscored, of_images=not isinstance(prior, MixturePrior))
    return store


def identified(settings: Settings, dataset: Dataset, prior: Prior) -> dict[str, Any]:
    """Everything that reaches the computation, and nothing else."""
    config = settings.config
    unread = "noise_std" if config["task"]["noise"] == "poisson" else "poisson_rate"
    return {
        "protocol": PROTOCOL_VERSION,
        "method": {"name": config["method"]["name"], "sample": telling(config["method"]["sample"])},
        "task": {key: value for key, value in config["task"].items() if key not in ("tuning", unread)},
        "measurement": {key: value for key, value in config["measurement"].items() if key != unread},
        "dataset": {"name": config["dataset"]["name"], "digest": dataset.digest},
        "prior": {"name": config["prior"]["name"], "digest": prior.digest},
        "seed": settings.seed,
        "precision": settings.precision,
    }


def described(identity: dict[str, Any]) -> str:
    """The run's `config.yaml`: its identity, with what made it as comments."""
    comments = "".join(f"# {key}: {value}\n" for key, value in provenance().items())
    return comments + yaml.safe_dump(identity, sort_keys=False, allow_unicode=True)


def unfinished(ids: Sequence[str], done: set[str], batch_size: int) -> list[list[str]]:
    """The batches of `ids` with work left, whole: the partition of a shard is fixed, so that a resumed run repeats an
    undisturbed one byte for byte."""
    batches = [list(ids[i : i + batch_size]) for i in range(0, len(ids), batch_size)]
    return [batch for batch in batches if not done.issuperset(batch)]


def conclude(
    store: Store,
    dataset: Dataset,
    device: torch.device,
    why_unscored: str | None = None,
    *,
    of_images: bool = True,
) -> None:
    """Once every image that was asked for has its record: set metrics (or why there are none), and the summary,
    whichever shard ends last. There are none either where what was restored is no images."""
    wanted = requested(store)
    ids = dataset.ids[: wanted.ids if wanted else 0]
    status = outcomes(store, ids)
    if not ids or len(status) < len(ids):
        return
    good = [image_id for image_id in ids if status[image_id] == "ok"]
    summary = summarise(read(store, ids), {"warning": why_unscored} if why_unscored else {})
    if good and of_images and not why_unscored:
        images = torch.from_numpy(np.stack([read_image(store, image_id) for image_id in good])).permute(0, 3, 1, 2)
        truths = (pixels(dataset.load(image_id)) for image_id in good)
        summary["sets"] = set_scores(dataset.name, images, truths, device, read_summary(store))
        summary = completed(summary, images.shape[-1])
    if doubt := not_converged(summary):
        summary["sets"]["warning"] = "; ".join(filter(None, (summary["sets"].get("warning"), doubt)))
    write_summary(store, summary)
    refresh(store)

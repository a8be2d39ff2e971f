"""One run, or one shard of it: what is missing → measure → sample → score → keep."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.provenance import provenance
from ldsmc_bench.records.identity import PROTOCOL_VERSION, run_id
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.status import Request, request, requested
from ldsmc_bench.records.store import Store, finished, keep, open_store, outcomes, read, read_image, write_summary
from ldsmc_bench.report.summary import summarise
from ldsmc_bench.report.wandb import mirror
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.features import FeatureNetwork, load_features
from ldsmc_bench.scoring.paired import paired_metrics
from ldsmc_bench.scoring.reference import reference_for
from ldsmc_bench.scoring.sets import set_metrics
from ldsmc_bench.settings import Settings, checked


@dataclass(frozen=True)
class Posed:
    """Images of a data set with their measurements, row by row; `unreadable` says why others are not among them."""

    ids: tuple[str, ...]
    truths: Tensor  # uint8 (B,3,S,S)
    measurement: Measurement | None  # None without any image
    unreadable: dict[str, str]


@dataclass(frozen=True)
class Restored:
    """What a sampler made of one image: pixels, or None where they are not finite; its cost and its diagnostics."""

    pixels: Tensor | None  # uint8 (3,S,S)
    cost: dict[str, float]
    diagnostics: dict[str, list[float]]


def run(cfg: DictConfig) -> Store:
    """Bring the run that `cfg` describes to its end, or this shard of it, and return where it is kept.

    What is finished already is left alone. Raises UserError for the user's mistakes; an image that cannot be read or
    restored has a failed record, and the others go on.
    """
    settings = checked(cfg)
    dataset, prior = made(cfg.dataset.load), made(cfg.prior.load)
    identity = identified(settings, dataset, prior)
    store = open_store(settings.config["results_dir"], run_id(identity), described(identity))
    ids = list(dataset.ids[: settings.n_images])
    request(store, Request(ids=len(ids), dataset_size=len(dataset.ids), **labels(settings)))

    batches = unfinished(store, ids[settings.shard :: settings.shards], settings.batch_size)
    if batches:
        prior = prior.to(settings.device, settings.network_dtype)
        network = load_features()
        sample = made(cfg.method.sample)
        with closing(Progress(settings, batches)) as progress:
            for batch in batches:
                posed = pose(cfg, settings, dataset, batch)
                keep_all(store, settings, posed.unreadable)
                for part, restored in restore(sample, prior, posed, settings, progress.tick):
                    score_and_keep(store, settings, part, restored, network)
            progress.finish()

    conclude(store, dataset, settings.config["wandb"]["mode"])
    return store


def identified(settings: Settings, dataset: Dataset, prior: Prior) -> dict[str, Any]:
    """Everything that reaches the computation, and nothing else."""
    config = settings.config
    return {
        "protocol": PROTOCOL_VERSION,
        "method": {"name": config["method"]["name"], "sample": config["method"]["sample"]},
        "task": config["task"],
        "measurement": config["measurement"],
        "dataset": {"name": config["dataset"]["name"], "digest": dataset.digest},
        "prior": {"name": config["prior"]["name"], "digest": prior.digest},
        "seed": settings.seed,
        "precision": settings.precision,
    }


def described(identity: dict[str, Any]) -> str:
    """The run's `config.yaml`: its identity, with what made it as comments."""
    comments = "".join(f"# {key}: {value}\n" for key, value in provenance().items())
    return comments + yaml.safe_dump(identity, sort_keys=False, allow_unicode=True)


def labels(settings: Settings) -> dict[str, Any]:
    """What a reader of a record wants to know of its run."""
    config = settings.config
    return {
        **{key: config[key]["name"] for key in ("method", "task", "dataset")},
        "seed": settings.seed,
        "steps": settings.sample.get("steps", 1),
        "particles": settings.sample.get("particles", 1),
    }


def unfinished(store: Store, ids: Sequence[str], batch_size: int) -> list[list[str]]:
    """The batches with work left, whole: the partition of a shard is fixed, so that a resumed run repeats an
    undisturbed one byte for byte."""
    done = finished(store, ids)
    batches = [list(ids[i : i + batch_size]) for i in range(0, len(ids), batch_size)]
    return [batch for batch in batches if not done.issuperset(batch)]


def pose(cfg: DictConfig, settings: Settings, dataset: Dataset, ids: Sequence[str]) -> Posed:
    """Load images and measure them: y depends on (seed, data set, image id, task) alone."""
    images, unreadable = {}, {}
    for image_id in ids:
        try:
            images[image_id] = dataset.load(image_id)
        except UserError as error:
            unreadable[image_id] = str(error)
    if not images:
        return Posed((), torch.empty(0), None, unreadable)
    x = torch.stack(list(images.values()))
    noise = Noise(settings.seed, list(images), f"measurement/{dataset.name}/{settings.config['task']['name']}")
    measurement = measure(
        x,
        made(cfg.task.operator),
        noise,
        noise_std=settings.config["task"]["noise_std"],
        noise_in_hole=settings.config["measurement"]["noise_in_hole"],
    )
    return Posed(tuple(images), pixels(x), measurement, unreadable)


def restore(
    sample: Callable[..., Tensor], prior: Prior, posed: Posed, settings: Settings, tick: Callable[[int], None]
) -> Iterator[tuple[Posed, list[Restored]]]:
    """Sample the images of a batch, in halves where memory does not suffice for the whole."""
    if posed.measurement is None:
        return
    try:
        yield posed, sampled(sample, prior, posed, settings, tick)
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if len(posed.ids) == 1:
            particles = labels(settings)["particles"]
            raise UserError(f"particles={particles}: memory does not suffice for one image; use fewer") from error
    torch.cuda.empty_cache()
    half = len(posed.ids) // 2
    print(f"out of memory with {len(posed.ids)} images at once: going on with {half}", file=sys.stderr)
    for rows in (slice(0, half), slice(half, None)):
        index = torch.arange(len(posed.ids))[rows]
        part = Posed(posed.ids[rows], posed.truths[rows], posed.measurement.select(index), {})
        yield from restore(sample, prior, part, settings, tick)


def sampled(
    sample: Callable[..., Tensor], prior: Prior, posed: Posed, settings: Settings, tick: Callable[[int], None]
) -> list[Restored]:
    """Run the sampler on one batch and count what it costs."""
    assert posed.measurement is not None
    images = len(posed.ids)
    config, on_gpu = settings.config, settings.device.type == "cuda"
    counted, trace = Counted(prior), Trace(tick=lambda: tick(images))
    noise = Noise(settings.seed, posed.ids, f"sampler/{config['dataset']['name']}/{config['task']['name']}")
    allow_tf32(settings.precision == "tf32")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(settings.device)
    started = time.perf_counter()
    x_hat = sample(counted, posed.measurement.to(settings.device, settings.dtype), noise, trace).float().cpu()
    cost = {"seconds": (time.perf_counter() - started) / images, **counted.per_image(images)}
    if on_gpu:
        cost["peak_memory_mb"] = torch.cuda.max_memory_allocated(settings.device) / 2**20
    diagnostics = trace.per_image() or [{} for _ in posed.ids]
    return [
        Restored(pixels(x) if torch.isfinite(x).all() else None, cost, diagnosis)
        for x, diagnosis in zip(x_hat, diagnostics, strict=True)
    ]


def score_and_keep(
    store: Store, settings: Settings, posed: Posed, restored: Sequence[Restored], network: FeatureNetwork
) -> None:
    """Compare the 8-bit images with the truths; keep a record and a picture of each."""
    finite = [i for i, one in enumerate(restored) if one.pixels is not None]
    keep_all(
        store, settings, {posed.ids[i]: "the result is not finite" for i in set(range(len(restored))) - set(finite)}
    )
    if not finite or posed.measurement is None:
        return
    rows = torch.tensor(finite)
    images = torch.stack([one.pixels for one in restored if one.pixels is not None])
    metrics = paired_metrics(images, posed.truths[rows], posed.measurement.select(rows), network)
    for i, image, values in zip(finite, images, metrics, strict=True):
        kept: dict[str, dict[str, Any]] = {
            "metrics": values,
            "cost": restored[i].cost,
            "diagnostics": restored[i].diagnostics,
        }
        if wrong := not_finite(kept):
            keep_all(store, settings, {posed.ids[i]: f"{wrong} is not finite"})
        else:
            keep(store, record(store, settings, posed.ids[i], status="ok", **kept), picture(image))


def not_finite(outcome: dict[str, dict[str, Any]]) -> str | None:
    """The first entry with a number that no mean may meet, as `metrics.misfit`."""
    entries = ((f"{part}.{name}", value) for part, values in outcome.items() for name, value in values.items())
    return next((name for name, value in entries if not np.isfinite(value).all()), None)


def keep_all(store: Store, settings: Settings, failures: dict[str, str]) -> None:
    """Failed records: each says why, and is told at once."""
    for image_id, why in failures.items():
        tqdm.write(f"{image_id} failed: {why}", file=sys.stderr)
        empty: dict[str, Any] = {"metrics": {}, "cost": {}, "diagnostics": {}}
        keep(store, record(store, settings, image_id, status="failed", error=why, **empty))


def record(store: Store, settings: Settings, image_id: str, **outcome: Any) -> Record:
    """An image's row."""
    return cast(Record, {"run_id": store.run_id, "image_id": image_id, **labels(settings), **outcome})


def conclude(store: Store, dataset: Dataset, wandb_mode: str) -> None:
    """Once every image that was asked for has its record: set metrics, the summary and its mirror in W&B, whichever
    shard ends last."""
    wanted = requested(store)
    ids = dataset.ids[: wanted.ids if wanted else 0]
    status = outcomes(store, ids)
    if not ids or len(status) < len(ids):
        return
    good = [image_id for image_id in ids if status[image_id] == "ok"]
    sets: dict[str, Any] = {}
    if good:
        network = load_features()
        images = torch.from_numpy(np.stack([read_image(store, image_id) for image_id in good])).permute(0, 3, 1, 2)
        truths = pixels(torch.stack([dataset.load(image_id) for image_id in good]))
        sets = set_metrics(network, images, reference_for(dataset.name, network, truths))
    write_summary(store, summarise(read(store, ids), sets))
    mirror(store, wandb_mode)


def made(node: DictConfig) -> Any:
    """Instantiate a part of the configuration; a UserError inside comes out as it is."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


def pixels(x: Tensor) -> Tensor:
    """[-1,1] to uint8, clipped and rounded."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def picture(image: Tensor) -> np.ndarray:
    """uint8 (3,S,S) as (S,S,3)."""
    return image.permute(1, 2, 0).numpy()


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class Progress:
    """A bar over images x moves with the time left; one line every so often where there is no terminal."""

    def __init__(self, settings: Settings, batches: Sequence[Sequence[str]]) -> None:
        images, names = sum(map(len, batches)), labels(settings)
        self.left = images * names["steps"] * settings.sample.get("gibbs_iterations", 1)
        self.bar = tqdm(
            total=self.left,
            desc=f"{names['method']} {names['task']} N={names['particles']} ({images} images)",
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed} elapsed, {remaining} left",
            mininterval=1 if sys.stderr.isatty() else 15,
        )

    def tick(self, images: int) -> None:
        """One move of `images` images is done."""
        moves = min(images, self.left)
        self.left -= moves
        self.bar.update(moves)

    def finish(self) -> None:
        """Images that could not be read made no moves."""
        self.tick(self.left)

    def close(self) -> None:
        self.bar.close()

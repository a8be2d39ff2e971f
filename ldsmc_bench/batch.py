"""One batch of images: posed as a problem, restored by a sampler, scored and kept."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, keep
from ldsmc_bench.sampling.chain import grid
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.features import FeatureNetwork
from ldsmc_bench.scoring.paired import paired_metrics
from ldsmc_bench.settings import Settings, made


@dataclass(frozen=True)
class Posed:
    """Images of a data set with their measurements, row by row; `unreadable` says why others are not among them."""

    ids: tuple[str, ...]
    truths: Tensor  # uint8 (B,3,S,S)
    measurement: Measurement | None  # None without any image
    unreadable: dict[str, str]
    labels: list[int] | None = None  # classes, where the data set has them


@dataclass(frozen=True)
class Restored:
    """What a sampler made of one image: pixels, or None where they are not finite; its cost and its diagnostics.

    `skipped` says why the method cannot do this task at all.
    """

    pixels: Tensor | None  # uint8 (3,S,S)
    cost: dict[str, float]
    diagnostics: dict[str, list[float]]
    skipped: str | None = None


def pose(settings: Settings, dataset: Dataset, ids: Sequence[str]) -> Posed:
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
    _expect_size(settings, x.shape[-1])
    noise = Noise(settings.seed, list(images), f"measurement/{dataset.name}/{settings.config['task']['name']}")
    measurement = measured(settings, x, noise)
    labels = [dataset.labels[image_id] for image_id in images] if dataset.labels else None
    return Posed(tuple(images), pixels(x), measurement, unreadable, labels)


def measured(settings: Settings, x: Tensor, noise: Noise) -> Measurement:
    """The task applied to images x (B,3,S,S)."""
    task, common = settings.config["task"], settings.config["measurement"]
    return measure(
        x,
        made(task["operator"]),
        noise,
        noise_std=task["noise_std"],
        noise_in_hole=common["noise_in_hole"],
        kind=task["noise"],
        poisson_rate=common["poisson_rate"],
    )


def rehearse(settings: Settings, prior: Prior) -> None:
    """Raise the UserError of a task's number, or of a number of steps, before anything is kept: measure a blank image
    and lay out the steps."""
    side = prior.image_size
    measured(settings, torch.zeros(1, 3, side, side), Noise(settings.seed, ["rehearsal"], "rehearsal"))
    grid(prior.alpha_bar, settings.labels["steps"])


def _expect_size(settings: Settings, side: int) -> None:
    dataset, prior = (settings.config[part] for part in ("dataset", "prior"))
    if side != (wanted := prior["image_size"]):
        raise UserError(
            f"dataset={dataset['name']}: its images are of {side}, but prior={prior['name']} is of {wanted}; "
            "use a dataset of that size, or any folder of pictures: dataset=folder dataset.root=..."
        )


def restore(
    sample: Callable[..., Tensor], prior: Prior, posed: Posed, settings: Settings, tick: Callable[[int], None]
) -> Iterator[tuple[Posed, list[Restored]]]:
    """Sample the images of a batch, in halves where memory does not suffice for the whole."""
    if posed.measurement is None:
        return
    try:
        yield posed, sampled(sample, prior, posed, settings, tick)
        return
    except Unsupported as error:
        yield posed, [Restored(None, {}, {}, skipped=str(error)) for _ in posed.ids]
        return
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if len(posed.ids) == 1:
            particles = settings.labels["particles"]
            raise UserError(f"particles={particles}: memory does not suffice for one image; use fewer") from error
    torch.cuda.empty_cache()
    half = len(posed.ids) // 2
    print(f"out of memory with {len(posed.ids)} images at once: going on with {half}", file=sys.stderr)
    for rows in (slice(0, half), slice(half, None)):
        index = torch.arange(len(posed.ids))[rows]
        labels = posed.labels[rows] if posed.labels else None
        part = Posed(posed.ids[rows], posed.truths[rows], posed.measurement.select(index), {}, labels)
        yield from restore(sample, prior, part, settings, tick)


def sampled(
    sample: Callable[..., Tensor], prior: Prior, posed: Posed, settings: Settings, tick: Callable[[int], None]
) -> list[Restored]:
    """Run the sampler on one batch and count what it costs."""
    assert posed.measurement is not None
    images = len(posed.ids)
    config, on_gpu = settings.config, settings.device.type == "cuda"
    counted, trace = Counted(prior.conditioned(posed.labels)), Trace(tick=lambda: tick(images))
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
    store: Store, settings: Settings, posed: Posed, restored: Sequence[Restored], network: FeatureNetwork | None
) -> None:
    """Compare the 8-bit images with the truths; keep a record and a picture of each. Without a network nothing is
    compared: records have no metrics."""
    finite = [i for i, one in enumerate(restored) if one.pixels is not None]
    skipped = {posed.ids[i]: one.skipped for i, one in enumerate(restored) if one.skipped}
    keep_unrestored(store, settings, "skipped", skipped)
    not_finite_ids = {posed.ids[i] for i in set(range(len(restored))) - set(finite)} - skipped.keys()
    keep_unrestored(store, settings, "failed", dict.fromkeys(sorted(not_finite_ids), "the result is not finite"))
    if not finite or posed.measurement is None:
        return
    rows = torch.tensor(finite)
    images = torch.stack([one.pixels for one in restored if one.pixels is not None])
    metrics: list[dict[str, Any]] = [{} for _ in finite]
    if network is not None:
        metrics = paired_metrics(images, posed.truths[rows], posed.measurement.select(rows), network)
    for i, image, values in zip(finite, images, metrics, strict=True):
        kept: dict[str, dict[str, Any]] = {
            "metrics": values,
            "cost": restored[i].cost,
            "diagnostics": restored[i].diagnostics,
        }
        if wrong := not_finite(kept):
            keep_unrestored(store, settings, "failed", {posed.ids[i]: f"{wrong} is not finite"})
        else:
            keep(store, record(store, settings, posed.ids[i], status="ok", **kept), picture(image))


def not_finite(outcome: dict[str, dict[str, Any]]) -> str | None:
    """The first entry with a number that no mean may meet, as `metrics.misfit`."""
    entries = ((f"{part}.{name}", value) for part, values in outcome.items() for name, value in values.items())
    return next((name for name, value in entries if not np.isfinite(value).all()), None)


def keep_unrestored(
    store: Store, settings: Settings, status: Literal["failed", "skipped"], reasons: dict[str, str]
) -> None:
    """Records without a picture: each says why; a failure is told at once."""
    for image_id, why in reasons.items():
        if status == "failed":
            tqdm.write(f"{image_id} failed: {why}", file=sys.stderr)
        empty: dict[str, Any] = {"metrics": {}, "cost": {}, "diagnostics": {}}
        keep(store, record(store, settings, image_id, status=status, error=why, **empty))


def record(store: Store, settings: Settings, image_id: str, **outcome: Any) -> Record:
    """An image's row."""
    return cast(Record, {"run_id": store.run_id, "image_id": image_id, **settings.labels, **outcome})


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

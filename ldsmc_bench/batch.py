"""One batch of posed images: restored by a sampler, scored and kept."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.pose import Posed, measured, pixels
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, keep
from ldsmc_bench.sampling.chain import grid
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.paired import ImageMetric, paired_metrics
from ldsmc_bench.settings import Settings

# What becomes diagnostics, `log_weights` as their entropy; and what becomes a picture.
TRACED = ("ess", "resampled", "log_evidence", "log_weights", "spread")


@dataclass(frozen=True)
class Restored:
    """What a sampler made of one image: pixels, or None where they are not finite; its cost and its diagnostics.

    `spread`: how far its particles differ, where the sampler says so. `skipped` says why the method cannot do this task
    at all.
    """

    pixels: Tensor | None  # uint8 (3,S,S)
    cost: dict[str, float]
    diagnostics: dict[str, list[float]]
    spread: Tensor | None = None  # uint8 (S,S), standard deviations in the pixels' units
    skipped: str | None = None


def rehearse(settings: Settings, prior: Prior) -> None:
    """Raise the UserError of a task's number, or of a number of steps, before anything is kept: measure a blank image
    and lay out the steps."""
    side, channels = prior.image_size, settings.config["dataset"].get("dx", 3)
    measured(settings, torch.zeros(1, channels, side, side), Noise(settings.seed, ["rehearsal"], "rehearsal"))
    grid(prior.alpha_bar, settings.labels["steps"])


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
    counted, trace = Counted(prior.conditioned(posed.labels)), Trace(TRACED, tick=lambda: tick(images))
    stream = f"sampler/{config['dataset']['name']}/{config['task']['name']}"
    noise = Noise(settings.seed, posed.ids, stream, device=settings.device)
    allow_tf32(settings.precision == "tf32")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(settings.device)
    started = time.perf_counter()
    x_hat = sample(counted, posed.measurement.to(settings.device, settings.dtype), noise, trace).float().cpu()
    cost = {"seconds": (time.perf_counter() - started) / images, **counted.per_image(images)}
    if on_gpu:
        cost["peak_memory_mb"] = torch.cuda.max_memory_allocated(settings.device) / 2**20
    for step, log_weights in trace.values.pop("log_weights", {}).items():
        trace.values["entropy"][step] = entropy(log_weights)
    spreads = [one for spread in trace.values.pop("spread", {}).values() for one in grey(spread)] or [None] * images
    diagnostics = trace.per_image() or [{} for _ in posed.ids]
    return [
        Restored(pixels(x) if torch.isfinite(x).all() else None, cost, diagnosis, spread)
        for x, diagnosis, spread in zip(x_hat, diagnostics, spreads, strict=True)
    ]


def entropy(log_weights: Tensor) -> Tensor:
    """Shannon entropy (B,) of weights from their logarithms (B,N), known up to a constant: 0 where one has all, to
    log N where all are equal."""
    return torch.special.entr(torch.softmax(log_weights.double(), dim=1)).sum(dim=1)


def grey(spread: Tensor) -> Tensor:
    """Standard deviations (B,3,S,S) in [-1,1] as those of 8-bit images, uint8 (B,S,S): colours' root mean square."""
    return (spread.float().square().mean(dim=1).sqrt() * 127.5).nan_to_num(255).round().clamp(0, 255).byte().cpu()


def score_and_keep(
    store: Store,
    settings: Settings,
    posed: Posed,
    restored: Sequence[Restored],
    metrics: Mapping[str, ImageMetric] | None,
) -> None:
    """Compare the 8-bit images with the truths; keep a record and a picture of each. Where `metrics` is None nothing is
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
    scores: list[dict[str, Any]] = [{} for _ in finite]
    if metrics is not None:
        scores = paired_metrics(images, posed.truths[rows], posed.measurement.select(rows), metrics)
    for i, image, values in zip(finite, images, scores, strict=True):
        islands = restored[i].diagnostics.get("log_evidence", [])
        kept: dict[str, dict[str, Any]] = {
            "metrics": values | ({"sd_log_evidence": float(np.std(islands, ddof=1))} if len(islands) > 1 else {}),
            "cost": restored[i].cost,
            "diagnostics": restored[i].diagnostics,
        }
        if wrong := not_finite(kept):
            keep_unrestored(store, settings, "failed", {posed.ids[i]: f"{wrong} is not finite"})
        else:
            spread = restored[i].spread
            row = record(store, settings, posed.ids[i], status="ok", **kept)
            keep(store, row, picture(image), None if spread is None else spread.numpy())


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


def picture(image: Tensor) -> np.ndarray:
    """uint8 (3,S,S) as (S,S,3)."""
    return image.permute(1, 2, 0).numpy()


def out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed

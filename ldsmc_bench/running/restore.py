"""The trial of image data: a batch is restored by a sampler, scored and kept."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.config import Settings
from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.problem.datasets import truth_digest
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import Batch, Problem, is_picture, measure_batch, measurement_pictures, to_uint8
from ldsmc_bench.records.code_version import code_version
from ldsmc_bench.records.particles import keep_particles
from ldsmc_bench.records.problems import OBSERVED, ProblemStore, keep_problem
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, keep, of_draw
from ldsmc_bench.running.call import call_sampler
from ldsmc_bench.running.context import Trial
from ldsmc_bench.running.own_parts import look_for_gradient, require_adjoint, require_dataset, require_prior
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.sampling.chain import grid
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.paired import paired_metrics

# Traced values: diagnostics (`log_weights` as their entropy), and `spread`, a picture.
TRACED = ("ess", "resampled", "log_evidence", "log_weights", "spread")
PARTICLES = ("particles", "particles_log_weights")  # traced where they are asked for


@dataclass(frozen=True)
class Restored:
    """A restored image, with what it cost."""

    pixels: Tensor | None  # uint8 (C,H,W); None where they are not finite
    cost: dict[str, float]
    diagnostics: dict[str, list[float]]
    spread: NDArray[np.uint8] | None = None  # (S,S), standard deviations over particles, where they were traced
    particles: tuple[Tensor, Tensor] | None = None  # uint8 (N,C,H,W) and weights (N,), where they were asked for
    skipped: str | None = None  # the reason why the method cannot do this task at all


def dry_run(settings: Settings, problem: Problem, prior: Prior) -> None:
    """Raise the UserError of a part of the user's own, of a task's number, or of a number of steps, before anything is
    kept: measure a blank image and lay out the steps."""
    names = {part: f"{part}={settings.config[part]['name']}" for part in ("prior", "dataset", "task")}
    require_prior(names["prior"], prior)
    require_dataset(names["dataset"], problem.dataset)
    shape, noise = image_shape(prior), Noise(settings.seed, ["rehearsal"], "rehearsal")
    operator = measure_batch(problem, torch.zeros(1, *shape), noise).operator
    require_adjoint(names["task"], operator, shape, noise)
    look_for_gradient(names["task"], operator, shape)
    grid(prior.alpha_bar, settings.labels.steps)


def restore_and_keep(trial: Trial, batch: Batch) -> None:
    """Make the draws of a batch, score them, and keep a record and a picture of each: the trial of image data."""
    if trial.run.problems is not None and batch.measurement is not None:
        keep_measured(trial.run.problems, batch)
    for part, restored in restore(trial.sample, trial.prior, batch, trial.run.settings, trial.progress):
        score_and_keep(trial, part, restored)


def keep_measured(problems: ProblemStore, batch: Batch) -> None:
    """Keep the truths and the measurements of a batch."""
    assert batch.measurement is not None
    whole = None if is_picture(batch.measurement) else batch.measurement.y.cpu().numpy()
    shown, observed = measurement_pictures(batch.measurement), batch.measurement.operator.observed()
    masked = observed is not None and batch.measurement.y.shape == batch.truths.shape
    for image_id, row in {image_id: row for row, image_id in enumerate(batch.ids)}.items():
        pictures = {"truth": batch.truths[row], "measurement": shown[row]}
        if observed is not None and masked:
            pictures[OBSERVED] = 255 * (observed[row].cpu().expand_as(batch.truths[row]) > 0).byte()
        arrays = {column: np.asarray(picture.permute(1, 2, 0)) for column, picture in pictures.items()}
        keep_problem(problems, image_id, arrays, None if whole is None else whole[row])


def restore(
    sample: Callable[..., Tensor], prior: Prior, batch: Batch, settings: Settings, progress: Progress
) -> Iterator[tuple[Batch, list[Restored]]]:
    """Make the draws of a batch, in halves where memory does not suffice for the whole. Keep each part before
    asking for the next."""
    progress.begin(len(batch.draws), unreadable=len(batch.unreadable))
    parts = [batch] if batch.measurement is not None else []
    while parts:
        part = parts.pop(0)
        try:
            restored = sampled(sample, prior, part, settings, progress)
        except Unsupported as error:
            restored = [Restored(None, {}, {}, skipped=str(error)) for _ in part.draws]
        except (MemoryError, RuntimeError) as error:
            full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
            if not full:
                raise
            if len(part.draws) == 1:
                particles = settings.labels.particles
                raise UserError(f"particles={particles}: memory does not suffice for one image; use fewer") from error
            restored = []  # and the error, which holds the tensors of the call, is let go first
        if restored:
            yield part, restored
            progress.kept(len(part.draws))
        else:
            torch.cuda.empty_cache()
            half = len(part.draws) // 2
            print(f"out of memory with {len(part.draws)} images at once: going on with {half}", file=sys.stderr)
            parts = [_rows(part, slice(0, half)), _rows(part, slice(half, None)), *parts]


def _rows(batch: Batch, rows: slice) -> Batch:
    assert batch.measurement is not None
    measurement = batch.measurement.select(torch.arange(len(batch.draws))[rows])
    labels = batch.labels[rows] if batch.labels else None
    return replace(batch, draws=batch.draws[rows], truths=batch.truths[rows], measurement=measurement, labels=labels)


def sampled(
    sample: Callable[..., Tensor], prior: Prior, batch: Batch, settings: Settings, progress: Progress
) -> list[Restored]:
    """Run the sampler on one batch and count what it costs."""
    assert batch.measurement is not None
    images, shape, on_gpu = len(batch.draws), batch.truths.shape, settings.device.type == "cuda"
    progress.foresee(sample, prior, batch.measurement, shape)
    asked = settings.config["particles_as_draws"] and settings.labels.particles > 1
    trace = Trace(TRACED + PARTICLES * asked, tick=progress.tick, rows=images)
    stream = f"sampler/{settings.labels.dataset}/{settings.labels.task}"
    noise = Noise(settings.seed, [draw.trial_id for draw in batch.draws], stream, device=settings.device)
    allow_tf32(settings.precision == "tf32")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(settings.device)
    conditioned = prior.conditioned(batch.labels)
    x_hat, cost = call_sampler(sample, conditioned, batch.measurement, noise, trace, settings, shape, progress)
    if on_gpu:
        cost["peak_memory_mb"] = torch.cuda.max_memory_allocated(settings.device) / 2**20
    for step, log_weights in trace.values.pop("log_weights", {}).items():
        trace.values["entropy"][step] = entropy(log_weights)
    spreads = [one.numpy() for spread in trace.values.pop("spread", {}).values() for one in grey(spread)]
    sets = weighted_particles(trace, settings.labels.method) if asked else [None] * images
    diagnostics = trace.per_image() or [{} for _ in batch.draws]
    return [
        Restored(to_uint8(x) if torch.isfinite(x).all() else None, cost, diagnosis, spread, particles)
        for x, diagnosis, spread, particles in zip(x_hat, diagnostics, spreads or [None] * images, sets, strict=True)
    ]


def weighted_particles(trace: Trace, method: str) -> list[tuple[Tensor, Tensor] | None]:
    """For each image its particles, uint8 (N,3,S,S), and their weights (N,), taken out of the trace. Raises UserError
    where the sampler reported none."""
    pictures, log_weights = (list(trace.values.pop(name, {}).values()) for name in PARTICLES)
    if not pictures or not log_weights:
        raise UserError(
            f"particles_as_draws=true: method={method} reports no particles: leave it out for this method, or report "
            "them by trace.note(0, particles=..., particles_log_weights=...)"
        )
    whole, weights = to_uint8(pictures[-1].float().cpu().nan_to_num()), log_weights[-1].double().exp().cpu()
    return list(zip(whole, weights, strict=True))


def entropy(log_weights: Tensor) -> Tensor:
    """Shannon entropy (B,) of weights from their logarithms (B,N), known up to a constant."""
    return torch.special.entr(torch.softmax(log_weights.double(), dim=1)).sum(dim=1)


def grey(spread: Tensor) -> Tensor:
    """Standard deviations (B,3,S,S) in [-1,1] as those of 8-bit images, uint8 (B,S,S): colours' root mean square."""
    return (spread.float().square().mean(dim=1).sqrt() * 127.5).nan_to_num(255).round().clamp(0, 255).byte().cpu()


def score_and_keep(trial: Trial, batch: Batch, restored: Sequence[Restored]) -> None:
    """Compare the 8-bit images with the truths; keep a record and a picture of each."""
    store, settings = trial.run.store, trial.run.settings
    assert batch.measurement is not None
    for row, (draw, one) in enumerate(zip(batch.draws, restored, strict=True)):
        if one.pixels is None:
            reason = {draw: one.skipped or "the result is not finite"}
            record_failures(store, settings, "skipped" if one.skipped else "failed", reason)
            continue
        metrics: dict[str, float] = {}
        if trial.metrics is not None:
            own = batch.measurement.select(torch.tensor([row]))
            metrics = paired_metrics(one.pixels[None], batch.truths[row : row + 1], own, trial.metrics)
        if len(islands := one.diagnostics.get("log_evidence", [])) > 1:
            metrics["sd_log_evidence"] = float(np.std(islands, ddof=1))
        outcome: dict[str, Any] = {"metrics": metrics, "cost": one.cost, "diagnostics": one.diagnostics}
        if wrong := not_finite(outcome):
            record_failures(store, settings, "failed", {draw: f"{wrong} is not finite"})
            continue
        state = {"truth_file": batch.states[draw.image_id]} if draw.image_id in batch.states else {}
        truth = {"truth": truth_digest(batch.truths[row]), **state}
        kept = record(store, settings, draw, status="ok", **truth, **outcome)
        if one.particles and draw.number == 0:
            keep_particles(store, draw.image_id, *(part.numpy() for part in one.particles))
        keep(of_draw(store, draw.number), kept, one.pixels.permute(1, 2, 0).numpy(), one.spread)


def not_finite(outcome: dict[str, dict[str, Any]]) -> str | None:
    """The first entry with a number that no mean may meet, as `metrics.misfit`."""
    entries = ((f"{part}.{name}", value) for part, values in outcome.items() for name, value in values.items())
    return next((name for name, value in entries if not np.isfinite(value).all()), None)


def record_failures(
    store: Store, settings: Settings, status: Literal["failed", "skipped"], reasons: dict[Draw, str]
) -> None:
    """Keep records without a picture, with their reasons; failures are printed at once."""
    for draw, why in reasons.items():
        if status == "failed":
            tqdm.write(f"{draw.trial_id} failed: {why}", file=sys.stderr)
        empty: dict[str, Any] = {"metrics": {}, "cost": {}, "diagnostics": {}}
        keep(of_draw(store, draw.number), record(store, settings, draw, status=status, error=why, **empty))


def record(store: Store, settings: Settings, draw: Draw, **outcome: Any) -> Record:
    """A draw's row."""
    names = {"run_id": store.run_id, "image_id": draw.image_id, "draw": draw.number, **asdict(settings.labels)}
    return cast(Record, {**names, "code": code_version(*settings.targets), **outcome})


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed

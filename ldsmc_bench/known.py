"""One batch of problems whose posterior is known: each restored many times over, its draws scored and kept."""

import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldsmc_bench.batch import keep_unrestored, not_finite, record
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.pose import Posed
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.prior.mixture import MixturePrior
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.mixture import GaussianMixture, components
from ldsmc_bench.records.publish import publish, writing
from ldsmc_bench.records.store import Store, keep
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.exact import exactness
from ldsmc_bench.settings import Settings

BLOCK = 50  # runs of one problem that draw their noise together: a block's draws depend on its problem and its number
ROWS = 100_000  # particles in memory at a time
SIDE = 160  # of a picture


@dataclass
class Runs:
    """What the runs on one problem gave, block by block."""

    draws: list[Tensor] = field(default_factory=list)  # (BLOCK,dx)
    log_evidences: list[Tensor] = field(default_factory=list)  # (BLOCK,), where the method estimates them
    steps: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))  # of runs, step by step
    cost: dict[str, float] = field(default_factory=dict)  # of one run


def repeat_and_keep(
    store: Store,
    settings: Settings,
    sample: Callable[..., Tensor],
    prior: MixturePrior,
    posed: Posed,
    tick: Callable[[int], None],
) -> None:
    """Run the sampler `dataset.repetitions` times on each problem of a batch, take one draw of each run, and keep a
    record, the draws (`draws/<problem>.npy`) and a picture of them over the posterior."""
    repetitions = settings.config["dataset"]["repetitions"]
    try:
        results = repeated(settings, sample, prior, posed, -(-repetitions // BLOCK), tick)
    except Unsupported as error:
        keep_unrestored(store, settings, "skipped", dict.fromkeys(posed.ids, str(error)))
        return
    for row, (problem, runs) in enumerate(zip(posed.ids, results, strict=True)):
        draws = torch.cat(runs.draws)[:repetitions]
        bad = int((~torch.isfinite(draws).all(dim=1)).sum())
        if bad:
            keep_unrestored(store, settings, "failed", {problem: f"{bad} of {repetitions} draws are not finite"})
            continue
        log_evidences = torch.cat(runs.log_evidences)[:repetitions] if runs.log_evidences else None
        posterior, log_evidence = posterior_of(prior, posed, row)
        outcome: dict[str, dict[str, Any]] = {
            "metrics": exactness(draws, posterior, log_evidence, log_evidences),
            "cost": runs.cost,
            "diagnostics": {name: torch.cat(steps).mean(dim=0).tolist() for name, steps in runs.steps.items()},
        }
        if wrong := not_finite(outcome):
            keep_unrestored(store, settings, "failed", {problem: f"{wrong} is not finite"})
            continue
        _keep_draws(store, problem, draws)
        keep(store, record(store, settings, problem, status="ok", **outcome), scatter(draws, posterior))


def repeated(
    settings: Settings,
    sample: Callable[..., Tensor],
    prior: MixturePrior,
    posed: Posed,
    blocks: int,
    tick: Callable[[int], None],
) -> list[Runs]:
    """The runs on each problem of a batch, as many of them at a time as there is room for their particles."""
    assert posed.measurement is not None and posed.labels is not None
    results = [Runs() for _ in posed.ids]
    names = "/".join(settings.config[part]["name"] for part in ("dataset", "task"))
    for rows, numbers in _parts(len(posed.ids), blocks, settings.labels["particles"]):
        ids = [f"{posed.ids[row]}/{number}" for row in rows for number in numbers]
        count = len(numbers) * BLOCK  # runs of each problem
        index = torch.tensor(rows).repeat_interleave(count)
        counted = Counted(prior.conditioned([posed.labels[row] for row in index.tolist()]))
        moved = len(rows) if numbers[-1] == blocks - 1 else 0  # a problem is as far as its last part
        trace = Trace(tick=partial(tick, moved))
        started = time.perf_counter()
        x = sample(
            counted,
            posed.measurement.select(index).to(settings.device, settings.dtype),
            Noise(settings.seed, ids, f"sampler/{names}", rows=BLOCK, device=settings.device),
            trace,
        )
        cost = {"seconds": (time.perf_counter() - started) / len(index), **counted.per_image(len(index))}
        draws = x.flatten(1).float().cpu().split(count)
        log_evidences = _over_islands(trace.values.pop("log_evidence", {}))
        steps = {name: torch.stack(list(by_step.values()), dim=1).cpu() for name, by_step in trace.values.items()}
        for place, row in enumerate(rows):
            mine = results[row]
            mine.draws.append(draws[place])
            mine.cost = cost
            if log_evidences is not None:
                mine.log_evidences.append(log_evidences.split(count)[place])
            for name, values in steps.items():
                mine.steps[name].append(values.double().split(count)[place])
    return results


def _parts(problems: int, blocks: int, particles: int) -> Iterator[tuple[list[int], list[int]]]:
    """Which problems and which of their blocks run together: whole problems where several fit, else a part of one."""
    room = max(1, ROWS // (BLOCK * particles))
    together = max(1, room // blocks)
    for first in range(0, problems, together):
        rows = list(range(first, min(first + together, problems)))
        for block in range(0, blocks, room):
            yield rows, list(range(block, min(block + room, blocks)))


def _over_islands(by_island: dict[int, Tensor]) -> Tensor | None:
    """log p(y) (R,) of every run: islands' estimates of p(y), averaged."""
    if not by_island:
        return None
    estimates = torch.stack(list(by_island.values())).cpu()
    return torch.logsumexp(estimates, dim=0) - np.log(len(estimates))


def posterior_of(prior: MixturePrior, posed: Posed, row: int) -> tuple[GaussianMixture, float]:
    """The posterior of the problem in this row of a batch, and its log-evidence."""
    assert posed.measurement is not None and posed.labels is not None
    one = posed.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
    assert isinstance(one.operator, Linear)
    law = components(prior.kind, prior.dx, prior.seed, posed.labels[row]).law()
    return law.given(one.operator.grouped()[0], one.y.flatten(), float(one.noise_std))


def posterior_pictures(prior: MixturePrior, posed: Posed) -> list[Tensor]:
    """What the pictures of perfect runs would show, uint8 (3,S,S): exact draws over the posterior."""
    pictures = []
    for row in range(len(posed.ids)):
        posterior, _ = posterior_of(prior, posed, row)
        draws = posterior.sample(1000, torch.Generator().manual_seed(1))
        pictures.append(torch.from_numpy(scatter(draws, posterior)).permute(2, 0, 1))
    return pictures


def scatter(draws: Tensor, posterior: GaussianMixture) -> NDArray[np.uint8]:
    """A picture (S,S,3) of the first two entries: the posterior in shades of blue, draws as red points over it; those
    that lie outside stand at the border."""
    plane = posterior.sample(50_000, torch.Generator().manual_seed(0))[:, [0, -1 if draws.shape[1] == 1 else 1]].numpy()
    middle, reach = np.median(plane, axis=0), np.abs(plane - np.median(plane, axis=0)).max() * 1.3
    edges = np.linspace(-reach, reach, SIDE + 1)
    across, up = (plane - middle).T
    density, _, _ = np.histogram2d(across, up, bins=[edges, edges])
    shade = np.sqrt(density / density.max())[..., None]
    picture = 255 - shade * (255 - np.array([40, 90, 170]))
    points = draws.double()[:1000, [0, -1 if draws.shape[1] == 1 else 1]].numpy() - middle
    places = np.clip(((points + reach) / (2 * reach) * SIDE).astype(int), 1, SIDE - 2)
    for x, y in places:
        picture[x : x + 2, y : y + 2] = 0.45 * picture[x : x + 2, y : y + 2] + 0.55 * np.array([210, 40, 20])
    return np.ascontiguousarray(picture.swapaxes(0, 1)[::-1]).round().astype(np.uint8)


def _keep_draws(store: Store, problem: str, draws: Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, draws.numpy())
    path = store.root / "draws" / f"{problem}.npy"
    with writing(store.root):
        path.parent.mkdir(exist_ok=True)
        publish(path, buffer.getvalue())

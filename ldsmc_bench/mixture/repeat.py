"""Run a batch of closed-form problems: draw many samples of each, score them by the exact posterior, store them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldsmc_bench.config import Settings
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.files import replace, writing
from ldsmc_bench.mixture.law import GaussianMixture, law_of
from ldsmc_bench.mixture.prior import MixturePrior
from ldsmc_bench.mixture.scores import exactness
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.problem import Batch
from ldsmc_bench.records.pictures import npy
from ldsmc_bench.records.problems import keep_problem
from ldsmc_bench.records.store import amend, keep
from ldsmc_bench.running.call import call_sampler
from ldsmc_bench.running.context import Trial
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.running.restore import not_finite, record, record_failures
from ldsmc_bench.sampling.trace import Trace

BLOCK = 50  # runs of one problem with noise drawn together, which depends on the problem and the block's number
ROWS = 100_000  # particles in memory at a time
SIDE = 160  # pixels of a picture


def draw_and_judge(trial: Trial, batch: Batch) -> None:
    """Run the sampler `draws` times on each problem of a batch, take one draw of each run, and keep a record, the draws
    (`draws/<problem>.npy`) and a picture of them over the posterior."""
    store, settings, prior, progress = trial.run.store, trial.run.settings, trial.prior, trial.progress
    assert isinstance(prior, MixturePrior) and batch.measurement is not None
    if trial.run.problems is not None:
        for row, problem in enumerate(batch.ids):
            posterior, _ = posterior_of(prior, batch, row)
            perfect = scatter(posterior.sample(1000, torch.Generator().manual_seed(1)), posterior)
            keep_problem(trial.run.problems, problem, {"posterior": perfect}, batch.measurement.y[row].cpu().numpy())
    blocks = -(-settings.draws // BLOCK)
    progress.begin(len(batch.ids), blocks * BLOCK)
    try:
        results = repeat(settings, trial.sample, prior, batch, blocks, progress)
    except Unsupported as error:
        record_failures(store, settings, "skipped", dict.fromkeys(batch.draws, str(error)))
        progress.kept(len(batch.ids))
        return
    for row, (draw, (values, cost)) in enumerate(zip(batch.draws, results, strict=True)):
        draws, log_evidences = values.pop("draws")[: settings.draws], values.pop("log_evidence", None)
        posterior, log_evidence = posterior_of(prior, batch, row)
        estimates = None if log_evidences is None else log_evidences[: settings.draws]
        outcome: dict[str, dict[str, Any]] = {
            "metrics": exactness(draws, posterior, log_evidence, estimates),
            "cost": cost,
            "diagnostics": {name: steps.mean(dim=0).tolist() for name, steps in values.items()},
        }
        if wrong := not_finite(outcome):
            record_failures(store, settings, "failed", {draw: f"{wrong} is not finite"})
            continue
        path = store.root / "draws" / f"{draw.image_id}.npy"
        row_of = record(store, settings, draw, status="ok", draws=len(draws), **outcome)
        with writing(store.root):
            path.parent.mkdir(exist_ok=True)
            replace(path, npy(draws.numpy()))
        if not keep(store, row_of, picture := scatter(draws, posterior)):  # a row of fewer draws is there
            amend(store, row_of, picture)
    progress.kept(len(batch.ids))


def repeat(
    settings: Settings,
    sample: Callable[..., Tensor],
    prior: MixturePrior,
    batch: Batch,
    blocks: int,
    progress: Progress,
) -> list[tuple[dict[str, Tensor], dict[str, float]]]:
    """Run the sampler on each problem of a batch, in calls of at most ROWS particles. Returns for each problem `draws`
    (R,dx) of R runs, `log_evidence` (R,) where the method estimates it, diagnostics (R,steps), and the cost of a run.
    """
    assert batch.measurement is not None and batch.labels is not None
    found: list[dict[str, list[Tensor]]] = [defaultdict(list) for _ in batch.ids]
    costs: list[dict[str, float]] = [{} for _ in batch.ids]
    names = "/".join(settings.config[part]["name"] for part in ("dataset", "task"))
    for rows, numbers in _calls(len(batch.ids), blocks, settings.labels.particles):
        ids = [f"{batch.ids[row]}/{number}" for row in rows for number in numbers]
        count = len(numbers) * BLOCK  # runs of each problem
        index = torch.tensor(rows).repeat_interleave(count)
        trace = Trace(tick=progress.tick, rows=len(index))
        noise = Noise(settings.seed, ids, f"sampler/{names}", rows=BLOCK, device=settings.device)
        conditioned = prior.conditioned([batch.labels[row] for row in index.tolist()])
        measurement, shape = batch.measurement.select(index), (len(index), *batch.truths.shape[1:])
        x, cost = call_sampler(sample, conditioned, measurement, noise, trace, settings, shape, progress)
        values = {"draws": x.flatten(1)}
        if by_island := list(trace.values.pop("log_evidence", {}).values()):
            # log p(y) of every run: the islands' estimates of p(y), averaged
            values["log_evidence"] = torch.logsumexp(torch.stack(by_island).cpu(), dim=0) - np.log(len(by_island))
        for name, by_step in trace.values.items():
            values[name] = torch.stack(list(by_step.values()), dim=1).cpu().double()
        for place, row in enumerate(rows):
            costs[row] = cost
            for name, value in values.items():
                found[row][name].append(value.split(count)[place])
    return [
        ({name: torch.cat(parts) for name, parts in mine.items()}, cost)
        for mine, cost in zip(found, costs, strict=True)
    ]


def _calls(problems: int, blocks: int, particles: int) -> Iterator[tuple[list[int], list[int]]]:
    """The problems and the blocks of each call: whole problems if several fit, else a part of one."""
    room = max(1, ROWS // (BLOCK * particles))
    together = max(1, room // blocks)
    for first in range(0, problems, together):
        rows = list(range(first, min(first + together, problems)))
        for block in range(0, blocks, room):
            yield rows, list(range(block, min(block + room, blocks)))


def posterior_of(prior: MixturePrior, batch: Batch, row: int) -> tuple[GaussianMixture, float]:
    """The posterior of the problem in this row of a batch, and its log-evidence."""
    assert batch.measurement is not None and batch.labels is not None
    one = batch.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
    assert isinstance(one.operator, Linear)
    law = law_of(prior.kind, prior.dx, prior.seed, batch.labels[row])
    return law.given(one.operator.grouped()[0], one.y.flatten(), float(one.noise_std))


def scatter(draws: Tensor, posterior: GaussianMixture) -> NDArray[np.uint8]:
    """A picture (S,S,3) of the first two entries: the posterior in shades of blue, draws as red points over it, at the
    border if they lie outside."""
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

"""Run a batch of closed-form problems: draw many samples of each, score them by the exact posterior, store them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ldsmc_bench.config import Settings
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.files import replace, writing
from ldsmc_bench.mixture.posterior import Known, KnownPrior, Posterior
from ldsmc_bench.mixture.prior import MixturePrior
from ldsmc_bench.mixture.scores import exactness
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.problem import Batch
from ldsmc_bench.records.code_version import code_version, compare_code
from ldsmc_bench.records.problems import keep_problem
from ldsmc_bench.records.record import glance, is_done
from ldsmc_bench.records.store import Store, amend, keep, record_path
from ldsmc_bench.running.call import call_sampler
from ldsmc_bench.running.context import Trial
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.running.restore import not_finite, record, record_failures
from ldsmc_bench.sampling.trace import Trace

BLOCK = 50  # runs of one problem with noise drawn together, which depends on the problem and the block's number
ROWS = 100_000  # particles in memory at a time
SIDE = 160  # pixels of a picture

# Of the first blocks of a problem: `draws` (n,dx) and `log_evidence` (n,) of n runs, where the method estimates it, and
# a row a block of the means over its runs, `cost.<name>` and `diagnostics.<name>`.
Drawn = dict[str, Tensor]


def draw_and_judge(trial: Trial, batch: Batch) -> None:
    """Take a draw of each of `draws` runs of the sampler on each problem of a batch. Only draws that are not kept yet
    are made; after each call they are kept in `draws/<problem>.safetensors`, and at the end a record of all, and a
    picture of them over the posterior."""
    store, settings, prior, progress = trial.run.store, trial.run.settings, trial.prior, trial.progress
    assert isinstance(prior, MixturePrior) and batch.measurement is not None
    if trial.run.problems is not None:
        for row, problem in enumerate(batch.ids):
            posterior, _ = answer(prior, batch, row)
            perfect = scatter(posterior.sample(1000, torch.Generator().manual_seed(1)), posterior)
            keep_problem(trial.run.problems, problem, {"posterior": perfect}, batch.measurement.y[row].cpu().numpy())
    kept, code = [read_draws(store, problem) for problem in batch.ids], code_version(*settings.targets)
    compare_code(store.run_id, code, [made_by for _, made_by in kept if made_by], mix=settings.config["mix_code"])
    drawn, blocks = [values for values, _ in kept], -(-settings.draws // BLOCK)
    there = [len(values.get("draws", ())) // BLOCK for values in drawn]
    missing = sum(max(0, blocks - count) for count in there)
    progress.begin(len(batch.ids), -(-missing * BLOCK // len(batch.ids)))
    try:
        for row, more in repeat(settings, trial.sample, prior, batch, there, blocks, progress):
            before = drawn[row]
            drawn[row] = {name: torch.cat([before[name], one]) for name, one in more.items()} if before else more
            if all(torch.isfinite(one).all() for one in drawn[row].values()):  # or they are drawn again
                keep_draws(store, batch.ids[row], drawn[row], code)
            progress.kept(0)  # images, but all that a stop would lose
    except Unsupported as error:
        record_failures(store, settings, "skipped", dict.fromkeys(batch.draws, str(error)))
    else:
        for row in range(len(batch.ids)):
            judge(trial, batch, row, drawn[row])
    progress.kept(len(batch.ids))


def repeat(
    settings: Settings,
    sample: Callable[..., Tensor],
    prior: MixturePrior,
    batch: Batch,
    there: Sequence[int],
    blocks: int,
    progress: Progress,
) -> Iterator[tuple[int, Drawn]]:
    """Run the sampler on the blocks of each problem that follow those that are `there`, in calls of at most ROWS
    particles. Yields, after each call, the row of a problem and what was drawn of it."""
    assert batch.measurement is not None and batch.labels is not None
    names = "/".join(settings.config[part]["name"] for part in ("dataset", "task"))
    for rows, numbers in _calls(there, blocks, settings.labels.particles):
        ids = [f"{batch.ids[row]}/{number}" for row in rows for number in numbers]
        index = torch.tensor(rows).repeat_interleave(len(numbers) * BLOCK)
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
            steps = torch.stack(list(by_step.values()), dim=1).cpu().double()
            values[f"diagnostics.{name}"] = steps.reshape(len(ids), BLOCK, -1).mean(dim=1)
        for name, value in cost.items():
            values[f"cost.{name}"] = torch.full((len(ids),), value, dtype=torch.float64)
        for place, row in enumerate(rows):
            yield row, {name: value.chunk(len(rows))[place].clone() for name, value in values.items()}


def _calls(there: Sequence[int], blocks: int, particles: int) -> Iterator[tuple[list[int], list[int]]]:
    """The problems and the blocks of each call: whole problems if several fit, else a part of one."""
    room = max(1, ROWS // (BLOCK * particles))
    for begun in sorted({count for count in there if count < blocks}):
        alike = [row for row, count in enumerate(there) if count == begun]
        together = max(1, room // (blocks - begun))
        for first in range(0, len(alike), together):
            for block in range(begun, blocks, room):
                yield alike[first : first + together], list(range(block, min(block + room, blocks)))


def judge(trial: Trial, batch: Batch, row: int, drawn: Drawn) -> None:
    """Score as many draws of a problem as are asked for; keep a record and a picture, unless those of as many are
    there."""
    store, settings, draw = trial.run.store, trial.run.settings, batch.draws[row]
    if is_done(glance(record_path(store, draw.image_id)), settings.draws):
        return
    assert isinstance(trial.prior, MixturePrior)
    posterior, log_evidence = answer(trial.prior, batch, row)
    draws, estimates = drawn["draws"][: settings.draws], drawn.get("log_evidence")
    means = {name: drawn[name][: -(-settings.draws // BLOCK)].mean(dim=0).tolist() for name in sorted(drawn)}
    outcome: dict[str, dict[str, Any]] = {
        "metrics": exactness(draws, posterior, log_evidence, None if estimates is None else estimates[: len(draws)]),
        "cost": _below("cost.", means),
        "diagnostics": _below("diagnostics.", means),
    }
    if wrong := not_finite(outcome):
        record_failures(store, settings, "failed", {draw: f"{wrong} is not finite"})
        return
    row_of = record(store, settings, draw, status="ok", draws=len(draws), **outcome)
    if not keep(store, row_of, picture := scatter(draws, posterior)):  # a row of fewer draws is there
        amend(store, row_of, picture)


def _below(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def read_draws(store: Store, problem: str) -> tuple[Drawn, Any]:
    """The draws of a problem that are kept, and the code that made them; none where a file is absent or damaged."""
    try:
        with safe_open(_path(store, problem), "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["code"])  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}, None


def keep_draws(store: Store, problem: str, drawn: Drawn, code: Mapping[str, Any]) -> None:
    """Keep the first draws of a problem, unless as many are there. Raises UserError where they cannot be written."""
    if len(read_draws(store, problem)[0].get("draws", ())) >= len(drawn["draws"]):
        return  # another process makes them too
    path = _path(store, problem)
    with writing(store.root):
        path.parent.mkdir(exist_ok=True)
        replace(path, save(drawn, {"code": json.dumps(code)}))


def _path(store: Store, problem: str) -> Path:
    return store.root / "draws" / f"{problem}.safetensors"


def answer(prior: KnownPrior, batch: Batch, row: int) -> Known:
    """The posterior of the problem in this row of a batch."""
    assert batch.measurement is not None and batch.labels is not None
    one = batch.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
    return prior.posterior(one, batch.labels[row])


def scatter(draws: Tensor, posterior: Posterior) -> NDArray[np.uint8]:
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

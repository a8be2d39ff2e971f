"""Run a batch of problems whose posterior is known: draw many samples of each, score them by it, store them."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ldsmc_bench.config import Settings
from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.files import write_file
from ldsmc_bench.mixture.posterior import Known, KnownPrior
from ldsmc_bench.mixture.scores import exactness
from ldsmc_bench.mixture.show import picture
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
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

BLOCK, IMAGES = 50, 10  # runs of one problem with noise drawn together, which depends on the problem and the block's
# number: of vectors and of images
ROWS, ENTRIES = 100_000, 8_000_000  # particles in memory at a time, and their entries
LARGE = 4096  # entries of a draw that is kept in 16 bits, of 11 digits: a quarter of a grey level at most

# Of the first blocks of a problem: `draws` (n,dx) and `log_evidence` (n,) of n runs, where the method estimates it, and
# a row a block of the means over its runs, `cost.<name>` and `diagnostics.<name>`.
Drawn = dict[str, Tensor]


def draw_and_judge(trial: Trial, batch: Batch) -> None:
    """Take a draw of each of `draws` runs of the sampler on each problem of a batch. Only draws that are not kept yet
    are made; after each call they are kept in `draws/<problem>.safetensors`, and at the end a record of all, and a
    picture of them over the posterior."""
    store, settings, prior, progress = trial.run.store, trial.run.settings, trial.prior, trial.progress
    assert batch.measurement is not None
    if settings.config["task"]["noise"] != "gaussian":
        raise UserError(
            f"task.noise={settings.config['task']['noise']}: the posterior is known for gaussian noise alone"
        )
    shape, block = batch.truths.shape[1:], block_of(batch.truths.shape[1:])
    kept, code = [read_draws(store, problem) for problem in batch.ids], code_version(*settings.targets)
    compare_code(store.run_id, code, [made_by for _, made_by in kept if made_by], mix=settings.config["mix_code"])
    drawn, blocks = [values for values, _ in kept], -(-settings.draws // block)
    there = [len(values.get("draws", ())) // block for values in drawn]
    missing = sum(max(0, blocks - count) for count in there)
    progress.begin(len(batch.ids), -(-missing * block // len(batch.ids)))
    try:
        answers = [answer(prior, batch, row) for row in range(len(batch.ids))]
        if trial.run.problems is not None:
            for row, (problem, known) in enumerate(zip(batch.ids, answers, strict=True)):
                exact = known.posterior.sample(20 * block, torch.Generator().manual_seed(1))
                perfect = picture(exact, known.posterior, shape)
                y = batch.measurement.y[row].cpu().numpy()
                keep_problem(trial.run.problems, problem, {"posterior": perfect}, y)
        for row, more in repeat(settings, trial.sample, prior, batch, there, blocks, progress):
            before = drawn[row]
            drawn[row] = {name: torch.cat([before[name], one]) for name, one in more.items()} if before else more
            if all(torch.isfinite(one).all() for one in drawn[row].values()):  # or they are drawn again
                keep_draws(store, batch.ids[row], drawn[row], code)
            progress.kept(0)  # images, but all that a stop would lose
    except Unsupported as error:
        record_failures(store, settings, "skipped", dict.fromkeys(batch.draws, str(error)))
    else:
        for row, known in enumerate(answers):
            judge(trial, batch, row, known, drawn[row])
    progress.kept(len(batch.ids))


def repeat(
    settings: Settings,
    sample: Callable[..., Tensor],
    prior: Prior,
    batch: Batch,
    there: Sequence[int],
    blocks: int,
    progress: Progress,
) -> Iterator[tuple[int, Drawn]]:
    """Run the sampler on the blocks of each problem that follow those that are `there`, in calls of at most ROWS
    particles and ENTRIES of them. Yields, after each call, the row of a problem and what was drawn of it."""
    assert batch.measurement is not None and batch.labels is not None
    names, shape = "/".join(settings.config[part]["name"] for part in ("dataset", "task")), batch.truths.shape[1:]
    block, entries = block_of(shape), math.prod(shape)
    room = max(1, min(ROWS, ENTRIES // entries) // (block * settings.labels.particles))
    for rows, numbers in _calls(there, blocks, room):
        ids = [f"{batch.ids[row]}/{number}" for row in rows for number in numbers]
        index = torch.tensor(rows).repeat_interleave(len(numbers) * block)
        trace = Trace(tick=progress.tick, rows=len(index))
        noise = Noise(settings.seed, ids, f"sampler/{names}", rows=block, device=settings.device)
        conditioned = prior.conditioned([batch.labels[row] for row in index.tolist()])
        measurement, whole = batch.measurement.select(index), (len(index), *shape)
        x, cost = call_sampler(sample, conditioned, measurement, noise, trace, settings, whole, progress)
        values = {"draws": x.flatten(1).half() if entries >= LARGE else x.flatten(1)}
        if by_island := list(trace.values.pop("log_evidence", {}).values()):
            # log p(y) of every run: the islands' estimates of p(y), averaged
            values["log_evidence"] = torch.logsumexp(torch.stack(by_island).cpu(), dim=0) - np.log(len(by_island))
        for name, by_step in trace.values.items():
            steps = torch.stack(list(by_step.values()), dim=1).cpu().double()
            values[f"diagnostics.{name}"] = steps.reshape(len(ids), block, -1).mean(dim=1)
        for name, value in cost.items():
            values[f"cost.{name}"] = torch.full((len(ids),), value, dtype=torch.float64)
        for place, row in enumerate(rows):
            yield row, {name: value.chunk(len(rows))[place].clone() for name, value in values.items()}


def block_of(shape: Sequence[int]) -> int:
    """The runs in a block, of draws of this shape."""
    return BLOCK if math.prod(shape) < LARGE else IMAGES


def _calls(there: Sequence[int], blocks: int, room: int) -> Iterator[tuple[list[int], list[int]]]:
    """The problems and the blocks, at most `room`, of each call: whole problems if several fit, else a part of one."""
    for begun in sorted({count for count in there if count < blocks}):
        alike = [row for row, count in enumerate(there) if count == begun]
        together = max(1, room // (blocks - begun))
        for first in range(0, len(alike), together):
            for block in range(begun, blocks, room):
                yield alike[first : first + together], list(range(block, min(block + room, blocks)))


def judge(trial: Trial, batch: Batch, row: int, known: Known, drawn: Drawn) -> None:
    """Score as many draws of a problem as are asked for; keep a record and a picture, unless those of as many are
    there."""
    store, settings, draw = trial.run.store, trial.run.settings, batch.draws[row]
    if is_done(glance(record_path(store, draw.image_id)), settings.draws):
        return
    (posterior, log_evidence), shape = known, batch.truths.shape[1:]
    draws, estimates = drawn["draws"][: settings.draws], drawn.get("log_evidence")
    means = {name: drawn[name][: -(-settings.draws // block_of(shape))].mean(dim=0).tolist() for name in sorted(drawn)}
    own = None if estimates is None else estimates[: len(draws)]
    outcome: dict[str, dict[str, Any]] = {
        "metrics": exactness(draws, posterior, log_evidence, own),
        "cost": _below("cost.", means),
        "diagnostics": _below("diagnostics.", means),
    }
    if wrong := not_finite(outcome):
        record_failures(store, settings, "failed", {draw: f"{wrong} is not finite"})
        return
    row_of = record(store, settings, draw, status="ok", draws=len(draws), **outcome)
    if not keep(store, row_of, shown := picture(draws, posterior, shape)):  # a row of fewer draws is there
        amend(store, row_of, shown)


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
    write_file(_path(store, problem), save(drawn, {"code": json.dumps(code)}))


def _path(store: Store, problem: str) -> Path:
    return store.root / "draws" / f"{problem}.safetensors"


def answer(prior: Prior, batch: Batch, row: int) -> Known:
    """The posterior of the problem in this row of a batch. Raises UserError for a prior that does not know it."""
    assert batch.measurement is not None and batch.labels is not None
    if not isinstance(prior, KnownPrior):
        raise UserError(f"prior: a {type(prior).__name__} knows no posterior; leave prior=... out on this data set")
    one = batch.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
    return prior.posterior(one, batch.labels[row])

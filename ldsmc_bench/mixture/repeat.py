"""Run a batch of problems whose posterior is known: draw many samples of each, score them by it, store them."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

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
from ldsmc_bench.running.restore import not_finite, record, record_failures
from ldsmc_bench.sampling.trace import Trace

BLOCK, IMAGES = 50, 10  # runs of one problem with noise drawn together, which depends on the problem and the block's
# number: of vectors and of images
ROWS, ENTRIES = 100_000, 8_000_000  # particles in memory at a time, and their entries
LARGE = 4096  # entries of a draw that is kept in 16 bits, of 11 digits: a quarter of a grey level at most

# Of a block of runs of the sampler on a problem: `draws` (n,dx) and `log_evidence` (n,), where the method estimates it,
# and the means over its runs, `cost.<name>` and `diagnostics.<name>`, as a row.
Drawn = dict[str, Tensor]
Pair = tuple[int, int]  # the row of a problem in its batch, and the number of a block of its draws


def draw_and_judge(trial: Trial, batch: Batch) -> None:
    """Take a draw of each of `draws` runs of the sampler on each problem of a batch, in blocks, of which a shard has
    its own. Only blocks that are not there yet are drawn; after each call they are kept, each in a file
    `draws/<problem>/<block>.safetensors`. A problem whose blocks are all there gets a record of its draws, and a
    picture of them over the posterior."""
    store, settings, prior, progress = trial.run.store, trial.run.settings, trial.prior, trial.progress
    assert batch.measurement is not None
    if settings.config["task"]["noise"] != "gaussian":
        raise UserError(
            f"task.noise={settings.config['task']['noise']}: the posterior is known for gaussian noise alone"
        )
    shape, ids, block = batch.truths.shape[1:], batch.ids, block_of(batch.truths.shape[1:])
    pairs = [(row, number) for number in range(-(-settings.draws // block)) for row in range(len(ids))]
    kept, code = (
        {(row, number): made_by(store, ids[row], number) for row, number in pairs},
        code_version(*settings.targets),
    )
    compare_code(store.run_id, code, [one for one in kept.values() if one], mix=settings.config["mix_code"])
    own, room = pairs[settings.shard :: settings.shards], room_of(shape, settings.labels.particles)
    calls = [[pair for pair in own[i : i + room] if not kept[pair]] for i in range(0, len(own), room)]
    progress.begin(len(ids), -(-sum(map(len, calls)) * block // len(ids)))
    not_kept: dict[int, str] = {}
    try:
        answers = [answer(prior, batch, row) for row in range(len(ids))]
        if trial.run.problems is not None:
            for row, (problem, known) in enumerate(zip(ids, answers, strict=True)):
                exact = known.posterior.sample(20 * block, torch.Generator().manual_seed(1))
                perfect = picture(exact, known.posterior, shape)
                y = batch.measurement.y[row].cpu().numpy()
                keep_problem(trial.run.problems, problem, {"posterior": perfect}, y)
        for call in filter(None, calls):
            for (row, number), drawn in zip(call, draw_blocks(trial, batch, call), strict=True):
                if wrong := next((name for name, one in drawn.items() if not torch.isfinite(one).all()), None):
                    not_kept[row] = f"{wrong} is not finite"
                else:
                    write_file(_path(store, ids[row], number), save(drawn, {"code": json.dumps(code)}))
            progress.kept(0)  # images, but all that a stop would lose
    except Unsupported as error:
        record_failures(store, settings, "skipped", dict.fromkeys(batch.draws, str(error)))
    else:
        record_failures(store, settings, "failed", {batch.draws[row]: why for row, why in not_kept.items()})
        for row, known in enumerate(answers):
            if row not in not_kept:
                judge(trial, batch, row, known)
    progress.kept(len(ids))


def draw_blocks(trial: Trial, batch: Batch, pairs: Sequence[Pair]) -> list[Drawn]:
    """Call the sampler once for these blocks of these problems."""
    assert batch.measurement is not None and batch.labels is not None
    settings, shape = trial.run.settings, batch.truths.shape[1:]
    names, block = "/".join(settings.config[part]["name"] for part in ("dataset", "task")), block_of(shape)
    ids = [f"{batch.ids[row]}/{number}" for row, number in pairs]
    index = torch.tensor([row for row, _ in pairs]).repeat_interleave(block)
    trace = Trace(tick=trial.progress.tick, rows=len(index))
    noise = Noise(settings.seed, ids, f"sampler/{names}", rows=block, device=settings.device)
    conditioned = trial.prior.conditioned([batch.labels[row] for row in index.tolist()])
    measurement, whole = batch.measurement.select(index), (len(index), *shape)
    x, cost = call_sampler(trial.sample, conditioned, measurement, noise, trace, settings, whole, trial.progress)
    values = {"draws": x.flatten(1).half() if math.prod(shape) >= LARGE else x.flatten(1)}
    if by_island := list(trace.values.pop("log_evidence", {}).values()):
        # log p(y) of every run: the islands' estimates of p(y), averaged
        values["log_evidence"] = torch.logsumexp(torch.stack(by_island).cpu(), dim=0) - np.log(len(by_island))
    for name, by_step in trace.values.items():
        steps = torch.stack(list(by_step.values()), dim=1).cpu().double()
        values[f"diagnostics.{name}"] = steps.reshape(len(ids), block, -1).mean(dim=1)
    for name, value in cost.items():
        values[f"cost.{name}"] = torch.full((len(ids),), value, dtype=torch.float64)
    return [{name: value.chunk(len(ids))[place].clone() for name, value in values.items()} for place in range(len(ids))]


def block_of(shape: Sequence[int]) -> int:
    """The runs in a block, of draws of this shape."""
    return BLOCK if math.prod(shape) < LARGE else IMAGES


def room_of(shape: Sequence[int], particles: int) -> int:
    """The number of blocks in a call: of at most ROWS particles and ENTRIES of them, but one at least."""
    return max(1, min(ROWS, ENTRIES // math.prod(shape)) // (block_of(shape) * particles))


def judge(trial: Trial, batch: Batch, row: int, known: Known) -> None:
    """Score as many draws of a problem as are asked for, if they are there; keep a record and a picture, unless those
    of as many are there."""
    store, settings, draw = trial.run.store, trial.run.settings, batch.draws[row]
    if is_done(glance(record_path(store, draw.image_id)), settings.draws):
        return
    (posterior, log_evidence), shape = known, batch.truths.shape[1:]
    drawn = read_draws(store, draw.image_id, settings.draws, shape)
    if drawn is None:  # another shard has not made its blocks yet
        return
    estimates = drawn.pop("log_evidence", None)
    draws, means = drawn.pop("draws"), {name: one.mean(dim=0).tolist() for name, one in sorted(drawn.items())}
    outcome: dict[str, dict[str, Any]] = {
        "metrics": exactness(draws, posterior, log_evidence, estimates),
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


def read_draws(store: Store, problem: str, count: int, shape: Sequence[int]) -> Drawn | None:
    """The first `count` draws of a problem, of this shape, with what was kept of their blocks; None where a block is
    absent or damaged."""
    blocks = []
    for number in range(-(-count // block_of(shape))):
        try:
            blocks.append(load_file(_path(store, problem, number)))
        except (OSError, SafetensorError):
            return None
    drawn = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    return {name: one[:count] for name, one in drawn.items()}


def made_by(store: Store, problem: str, block: int) -> Any:
    """The code that made a block of a problem's draws; None where it is absent or damaged."""
    try:
        with safe_open(_path(store, problem, block), "pt") as file:
            return json.loads(file.metadata()["code"])
    except (OSError, SafetensorError):
        return None


def _path(store: Store, problem: str, block: int) -> Path:
    return store.root / "draws" / problem / f"{block}.safetensors"


def answer(prior: Prior, batch: Batch, row: int) -> Known:
    """The posterior of the problem in this row of a batch. Raises UserError for a prior that does not know it."""
    assert batch.measurement is not None and batch.labels is not None
    if not isinstance(prior, KnownPrior):
        raise UserError(f"prior: a {type(prior).__name__} knows no posterior; leave prior=... out on this data set")
    one = batch.measurement.select(torch.tensor([row])).to("cpu", torch.float64)
    return prior.posterior(one, batch.labels[row])

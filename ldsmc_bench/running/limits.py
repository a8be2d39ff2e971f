"""The limits of a run: minutes and calls of the denoiser, before which it ends early, whole batches kept."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.running.progress import Progress, clock, stopped

if TYPE_CHECKING:  # a sweep's report needs their names alone, without PyTorch
    from ldsmc_bench.running.context import Run

LIMITS = ("time_limit", "call_limit")  # null for none; no part of a run's identity


def within_limits(run: "Run", progress: Progress, began: float) -> Iterator[Sequence[Draw]]:
    """The batches left to do, until the next would, at the pace since `began` (by `clock`), exceed a limit; a line then
    shows what is done and left. The first is never left out, so that the same command gets on under any limit."""
    limits, done = {key: run.settings.config[key] for key in LIMITS}, 0
    for number, batch in enumerate(run.batches):
        spent = {"time_limit": (clock() - began) / 60, "call_limit": progress.calls}
        over = [key for key, most in limits.items() if most and spent[key] * (done + len(batch)) > most * done]
        if done and over:
            left = sum(map(len, run.batches[number:]))
            counts = f"{done} {'draws' if run.batches[-1][-1].number else 'images'} done, {left} left"
            tqdm.write(f"{run.store.run_id}: {stopped(f' by {over[0]}={limits[over[0]]}, {counts}')}", file=sys.stderr)
            return
        yield batch
        done += len(batch)

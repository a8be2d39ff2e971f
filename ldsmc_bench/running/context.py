"""A run in hand: what its trials and its observers work with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from ldsmc_bench.config import Settings, instantiate
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import Problem
from ldsmc_bench.records.problems import ProblemStore
from ldsmc_bench.records.store import Store
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.scoring.paired import ImageMetric


@dataclass(frozen=True)
class Run:
    """A run, or one shard of it, as its observers see it."""

    settings: Settings
    store: Store
    problems: ProblemStore | None  # of truths and measurements; None with `keep_problems=false`
    ids: Sequence[str]  # all images asked for
    batches: Sequence[Sequence[Draw]]  # the draws left to do


@dataclass(frozen=True)
class Trial:
    """All that it takes to restore a batch of a run and to keep what came of it."""

    run: Run
    problem: Problem
    prior: Prior
    sample: Callable[..., Tensor]
    metrics: Mapping[str, ImageMetric] | None  # of single images; None where the prior is untrained
    progress: Progress


@contextmanager
def observed(run: Run) -> Iterator[Progress]:
    """Inside, the observers of the configuration, functions of the run that return context managers, follow it; the
    value is the one called `progress`."""
    with ExitStack() as stack:
        made = {name: instantiate(node) for name, node in run.settings.config["observers"].items() if node}
        entered: dict[str, Any] = {name: stack.enter_context(observe(run)) for name, observe in made.items()}
        yield cast(Progress, entered.get("progress") or stack.enter_context(Progress(run.settings)))

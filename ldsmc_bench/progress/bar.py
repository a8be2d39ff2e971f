"""A progress bar: the work of a run that is done, and the time left."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.progress.work import Meter, Part, sketched
from ldsmc_bench.running import progress
from ldsmc_bench.running.context import Run
from ldsmc_bench.running.progress import Progress

label = ""  # of the run to come, in front of its name: set by whoever starts several, as "run 3/16 seed=2"


class Bar(Progress):
    """A bar over the seconds of work of a run, with the time left; one line every so often where there is no terminal.

    The work of a sampler's call is foreseen in parts, a step each (`foresee`), and known from the first call on. What a
    network costs is seen from its calls.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run.settings)
        self.settings, self.meter = run.settings, Meter(self._progressed, run.settings.device)
        self.plan: list[Part] = []  # of a call with `planned` rows
        self.planned = self.rows = 0  # `rows` of the running call
        self.done = 0.0  # seconds of work of the calls before it
        self.images_left, self.rows_left = sum(map(len, run.batches)), 0  # rows of the running batch
        self.rows_each = 1
        self.born = self.shown = self.started
        self.every = 1 if sys.stderr.isatty() else 15
        what = "images" if run.settings.draws == 1 else "draws"
        names = f"{run.settings.labels.method} {run.settings.labels.task} N={run.settings.labels.particles}"
        self.bar = tqdm(
            total=1,
            desc=f"{label and label + ': '}{names} ({self.images_left} {what})",
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed} elapsed, {remaining} left",
            mininterval=self.every,
            smoothing=0,
            disable=not run.batches,
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not self.images_left:  # all is done: images that could not be read took no work
            self.bar.total = self.bar.n = max(self.bar.n, 1e-9)
            self.bar.refresh()
        self.bar.close()
        super().__exit__(kind)

    def begin(self, images: int, rows_each: int = 1, unreadable: int = 0) -> None:
        super().begin(images, rows_each, unreadable)
        self.images_left -= images + unreadable
        self.rows_each, self.rows_left, self.rows = rows_each, images * rows_each, 0

    def foresee(self, sample: Callable[..., Any], prior: Prior, measurement: Measurement, shape: Sequence[int]) -> None:
        """Sketch the work of the first call; later ones are like it."""
        if not self.planned:
            self.plan = sketched(sample, prior, measurement, self.settings, shape, self.steps)
            self.planned = shape[0]

    def call(self, rows: int) -> Meter:
        super().call(rows)
        self.rows = rows
        self.meter.restart()
        return self.meter

    def tick(self) -> None:
        super().tick()
        self.meter.tick()

    def called(self) -> None:
        """Keep what the call has shown of the work of the next ones."""
        self.meter.close()
        self.plan, self.planned = self.meter.parts, self.rows
        self.done += sum(map(self.meter.cost_of_part, self.plan))
        self.rows_left -= self.rows
        self.rows = 0
        self._progressed()

    def seconds(self) -> tuple[float, float]:
        """The work done and the work left, as far as it is known."""
        meter, rows = self.meter, self.rows
        parts = meter.parts if rows else [Part()]
        plan = [meter.cost_of_part(part) / self.planned for part in self.plan]  # of a row
        if plan:  # measured by it, so that a machine that grows slower shows in the pace
            others = [meter.cost_of_other(part) / self.planned * rows for part in self.plan] + [0.0] * len(parts)
            past = [meter.cost_of_calls(part) + other for part, other in zip(parts[:-1], others, strict=False)]
        else:  # not foreseen: steps are taken to be alike
            past = [meter.cost_of_part(part) for part in parts[:-1]]
            plan = [sum(past) / len(past) / rows] * self.steps + [0.0] if past else []
        now = meter.cost_of_calls(parts[-1])
        *steps, after = plan or [0.0]
        if steps and past:  # whose work hangs on the data: the coming ones take what the past ones took of their plan
            ratio = sum(past) / rows / (sum(steps[: len(past)]) or 1.0)
            plan = [step * ratio for step in steps] + [after]
        rest = sum(plan[len(past) + 1 :]) * rows + max(0.0, sum(plan[len(past) : len(past) + 1]) * rows - now)
        later = self.rows_left - rows + self.images_left * self.rows_each
        return self.done + sum(past) + now, rest + later * sum(plan)

    def left(self) -> float:
        """Seconds that the run will still take at the pace that it had so far."""
        done, left = self.seconds()
        return (progress.clock() - self.born) * left / done if done else float("inf")

    def _progressed(self) -> None:
        if progress.clock() - self.shown >= self.every:
            self.shown = progress.clock()
            self.bar.n, left = self.seconds()
            self.bar.total = self.bar.n + left
            self.bar.refresh()

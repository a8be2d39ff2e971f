"""The batch in hand, as the trial that works on it reports it, and what a request to stop loses of it."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # every command can be stopped, most of them long before PyTorch is imported
    from ldsmc_bench.config import Settings
    from ldsmc_bench.prior.counting import Listener
    from ldsmc_bench.prior.interface import Prior
    from ldsmc_bench.problem.measurement import Measurement

clock = time.perf_counter
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # of a cluster or a user; sent by schedulers ahead of the end
_current: "Progress | None" = None  # of the run in hand, or of the one that a request to stop has ended


class Progress:
    """Counts the images and steps of the running batch, and the `calls` of the denoiser, forward and a row each, that
    ended calls of the sampler took; an observer that shows more is a subclass."""

    def __init__(self, settings: "Settings") -> None:
        sample = settings.sample
        self.steps = settings.labels.steps * sample.get("gibbs_iterations", 1) * sample.get("islands", 1)
        self.step = self.images = self.unkept = self.calls = 0
        self.started = self.stopped = clock()

    def __enter__(self) -> Self:
        global _current
        _current = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global _current
        self.stopped = clock()
        if kind is None or issubclass(kind, Exception):
            _current = None

    def begin(self, images: int, rows_each: int = 1, unreadable: int = 0) -> None:
        """A batch begins, of `images` images of so many rows of a sampler's calls each, and `unreadable` ones."""
        self.images = self.unkept = images
        self.step, self.started = 0, clock()

    def kept(self, images: int) -> None:
        """`images` images of the running batch have their records."""
        self.unkept -= images
        self.step, self.started = 0, clock()

    def foresee(
        self, sample: Callable[..., Any], prior: "Prior", measurement: "Measurement", shape: Sequence[int]
    ) -> None:
        """A sampler is about to be called for `measurement`, whose images have this shape (R,C,S,S)."""

    def call(self, rows: int) -> "Listener | None":
        """A sampler's call of `rows` rows begins; return what listens to its prior, if anything."""
        self.step = 0
        return None

    def tick(self) -> None:
        """The running call has done a step."""
        self.step += 1

    def called(self) -> None:
        """The call has ended."""


def lost() -> str:
    """A sentence on the work that a stop at this moment loses, or that the latest stop lost; "" for none."""
    if _current is None or _current.unkept == 0:
        return ""
    now = _current.stopped if _current.stopped > _current.started else clock()
    steps = f"{min(_current.step, _current.steps)} of {_current.steps} steps, {now - _current.started:.0f} s"
    return f"work on {_current.unkept} of {_current.images} images in the running batch is lost ({steps})"


class Stop(SystemExit):
    """The end that a signal asks for, which a user's code that calls `sys.exit` does not."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGNALS end the process at once, as Ctrl-C does: the batch in hand is abandoned, temporary files go, what
    is finished stays. The exit code is 128 plus the signal's number. Submitit keeps USR2, with which it has SLURM queue
    the job again. Outside the main thread nothing can listen, and nothing changes."""
    main = threading.current_thread() is threading.main_thread()
    ours = [one for one in SIGNALS if one == signal.SIGTERM or signal.getsignal(one) is signal.SIG_DFL] if main else []
    before = {one: signal.signal(one, _stop) for one in ours}
    try:
        yield
    finally:
        for one, listener in before.items():
            signal.signal(one, listener)


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == "checkpoint_and_try_requeue":
            return  # submitit is about to queue the job again, which must not be cut short; then it ends the process
        frame = frame.f_back
    print(f"\n{stopped(f' by {signal.Signals(number).name}')}", file=sys.stderr)
    raise Stop(128 + number)


def stopped(by: str = "") -> str:
    """The line for a stop: what it loses, and the remedy."""
    return "; ".join(filter(None, (f"stopped{by}", lost(), "the same command goes on from here")))

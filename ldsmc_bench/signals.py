"""A request to stop: SIGTERM of a cluster or a user, or USR2, which schedulers send ahead of the end where asked to."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, these signals end the process at once, as Ctrl-C does: the batch in hand is abandoned, temporary files
    go, what is finished stays. The exit code is 128 plus the signal's number.

    Submitit keeps USR2, with which it has SLURM queue the job again; but where it would overhear SIGTERM until it is
    killed, this does not. Outside the main thread nothing can listen, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for one in SIGNALS if one == signal.SIGTERM or signal.getsignal(one) is signal.SIG_DFL]
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
    print(f"\nstopped by {signal.Signals(number).name}; the same command goes on from here", file=sys.stderr)
    sys.exit(128 + number)

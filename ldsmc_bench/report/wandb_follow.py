"""The process that follows a command's runs through the store and sends them to W&B while they grow.

It sees files, and a pipe on which the command says which run begins and when it ends. Nothing goes back, and it has a
low priority: sampling never waits for it. When the command dies, killed or not, the pipe closes: then it sends what is
there and ends, within a limit.
"""

import json
import os
import queue
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldsmc_bench.records.store import Store
from ldsmc_bench.report.wandb_part import Mode, Part, complete, stands

LOOK_EVERY = 2.0  # seconds
GRACE = 5.0  # seconds past the limit: the command has ended this process by then, if there still is a command

Order = dict[str, Any] | None  # {"root", "mode", "shard", "shards"}, then {"ended_well"}; None: the command is gone


def main(pipe: int, time_limit: float) -> int:
    """Follow what the pipe says to its end; the exit code is 0, or 1 if W&B failed, with one line on stderr."""
    os.nice(10)
    hear = _orders(pipe, time_limit + GRACE)
    with quiet():
        try:
            while (order := hear(None)) is not None:
                part = Part(Store(Path(order["root"]), Path(order["root"]).name), order["shard"], order["shards"])
                follow(part, order["mode"], lambda: _ended(hear))
                whole = Part(part.store)
                if part != whole and complete(part.store) and not stands(part.store, order["mode"]):
                    follow(whole, order["mode"], lambda: True)
        except Exception as error:  # W&B's own, of whatever kind
            print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
    return 0


def follow(part: Part, mode: Mode, ended: Callable[[], bool | None]) -> str:
    """Send a part of the store until it has ended; returns the address of its W&B run, or its folder.

    `ended` says, after a moment, whether that was well, or None while it goes on. Raises what wandb raises.
    """
    from ldsmc_bench.report.wandb_send import Sending, usable

    sending = Sending(part, usable(mode))
    end = None
    while end is None:
        end = ended()  # before the look, so that it misses nothing
        sending.look()
    return sending.close(end)


@contextmanager
def quiet() -> Iterator[None]:
    """Set wandb up for this process, before it is imported."""
    # It prints nothing, reports none of its own errors home, and does not take this process for the run it sends.
    os.environ.update(WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_ERROR_REPORTING="false", WANDB_DISABLE_GIT="true")
    os.environ.update(WANDB_DISABLE_CODE="true", WANDB__DISABLE_STATS="true", WANDB__DISABLE_META="true")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    with tempfile.TemporaryDirectory(prefix="ldsmc_bench-", ignore_cleanup_errors=True) as scratch:
        # It leaves nothing under the home directory; the table of an offline run must then lie in the run's own folder.
        os.environ.update(WANDB_DATA_DIR=scratch, WANDB_CACHE_DIR=scratch, WANDB_ALLOW_OFFLINE_ARTIFACTS="false")
        yield


def _ended(hear: Callable[[float | None], Order]) -> bool | None:
    try:
        order = hear(LOOK_EVERY)
    except queue.Empty:
        return None
    return bool(order and order.get("ended_well"))


def _orders(pipe: int, seconds_left: float) -> Callable[[float | None], Order]:
    """A function that gives the next order, or raises queue.Empty after so many seconds.

    Once the pipe is closed this process and all that it started have `seconds_left` to live, whatever W&B does.
    """
    heard: queue.Queue[Order] = queue.Queue()
    parent = os.getppid()

    def listen() -> None:
        text = b""
        while True:
            if select.select([pipe], [], [], LOOK_EVERY)[0]:
                if not (more := os.read(pipe, 1 << 16)):
                    break
                *lines, text = (text + more).split(b"\n")
                for line in lines:
                    heard.put(json.loads(line))
            elif os.getppid() != parent:  # the command died, and a child of its own keeps the pipe open
                break
        heard.put(None)
        time.sleep(seconds_left)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    gone = False

    def hear(seconds: float | None) -> Order:
        nonlocal gone
        if gone:
            return None
        order = heard.get(timeout=seconds)
        gone = order is None
        return order

    return hear


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))

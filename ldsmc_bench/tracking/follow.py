"""An observer that shows a run in W&B while it is made.

W&B shows the content of the store, and nothing depends on it. Each run has a process of its own, the follower, which
reads the run's files until the run ends or the process that makes it. So sampling never waits for W&B.
"""

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING

from ldsmc_bench import files
from ldsmc_bench.errors import UserError, notify, one_line, warn
from ldsmc_bench.records.status import concluded
from ldsmc_bench.records.store import Store

if TYPE_CHECKING:
    from ldsmc_bench.running.context import Run

TIME_LIMIT = 60.0  # seconds for what is still to be sent when a command ends; offline it takes about two a run
LOOK_EVERY = 2.0  # seconds
AT_ONCE = 3  # followers; further runs are sent when the command ends, by one process


@dataclass(frozen=True)
class Upload:
    """A run, or one shard of it, to be shown as one W&B run; `images` are those that this process restores.

    Shards are W&B runs of their own: several writers of one W&B run need wandb's mode "shared", which is experimental
    and has no offline files. The run's id is their group, and the last shard to end sends the run itself.
    """

    store: Store
    mode: str = "offline"
    shard: int = 0
    shards: int = 1
    images: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The id of the W&B run."""
        return self.store.run_id + (f"-shard{self.shard}of{self.shards}" if self.shards > 1 else "")

    @property
    def whole(self) -> "Upload":
        """The run itself, whichever shard this is."""
        return replace(self, shard=0, shards=1, images=())


_followers: dict[subprocess.Popen[bytes], Sequence[Upload]] = {}
_waiting: list[Upload] = []


@contextmanager
def observe(run: "Run") -> Iterator[None]:
    """Show a run in W&B while the block makes it; a finished one when the command ends, unless W&B has it.

    Raises UserError where WANDB_MODE names no mode, and otherwise never, nor asks: if W&B is missing, fails, or needs
    more than `TIME_LIMIT` seconds after the command, one warning goes to stderr, and this process sends no further run.
    """
    shard, shards, live = run.settings.shard, run.settings.shards, bool(run.batches)
    mode = choose_mode(run.settings.config["wandb"]["mode"])
    if mode == "disabled":
        yield
        return
    upload = Upload(run.store, mode, shard, shards, tuple(run.ids[shard::shards]))
    atexit.register(finish)
    codes = [process.poll() for process in _followers]
    stdin = _start([upload]) if live and codes.count(None) < AT_ONCE and not any(codes) else None
    try:
        yield
    finally:
        if stdin:
            stdin.close()
        elif live or (concluded(upload.store) and not is_uploaded(upload)):
            _waiting.append(upload if live else upload.whole)


def finish() -> None:
    """Wait until W&B has everything, for `TIME_LIMIT` seconds at most. Called when the process ends.

    A failure is one warning, with the command that sends the runs that are finished.
    """
    deadline, failure = time.monotonic() + TIME_LIMIT, ""
    if _waiting and not any(process.poll() for process in _followers) and (stdin := _start(_waiting)):
        stdin.close()
    for process in _followers:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"it took more than {TIME_LIMIT:g} s"
            failure, deadline = failure or why, 0.0
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _stderr().seek(0)
    lines = _stderr().read().splitlines()
    _stderr.cache_clear()
    for line in lines:
        if line.startswith("warning: "):
            notify(line)
    if codes := [process.returncode for process in _followers if process.returncode]:
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        left = [one for uploads in (*_followers.values(), _waiting) for one in uploads]
        left = [one for one in left if concluded(one.store) and not is_uploaded(one)]
        again = "".join(
            f"; to send what is finished: python -m ldsmc_bench.tracking --mode {one.mode} "
            f"--results-dir {one.store.results_dir} {' '.join(sorted({one.store.run_id for one in left}))}"
            for one in left[:1]
        )
        reason = failure or (errors or [f"exit code {codes[0]}"])[0]
        warn(f"W&B is left alone from here on, the results are safe ({reason}){again}")
    _followers.clear()
    _waiting.clear()


def choose_mode(mode: str) -> str:
    """The mode for `wandb.mode`: for `auto`, that of WANDB_DISABLED or WANDB_MODE, else `offline`.

    Raises UserError where WANDB_MODE names no mode.
    """
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on")
    name = "disabled" if disabled else os.environ.get("WANDB_MODE") or "offline"
    chosen = {"run": "online", "dryrun": "offline"}.get(name, name) if mode == "auto" else mode  # W&B's older names
    if chosen not in ("online", "offline", "disabled"):
        raise UserError(f"WANDB_MODE={name}: must be online, offline or disabled; wandb.mode=... overrides it")
    return chosen


def mark_uploaded(upload: Upload) -> None:
    """Note that W&B has the run with its present summary."""
    digest = files.file_digest(upload.store.root / "summary.json")
    files.replace(_note(upload), f"{upload.mode} {digest}".encode())


def is_uploaded(upload: Upload) -> bool:
    """True if W&B has the run with its present summary, in this mode or online."""
    try:
        mode, digest = _note(upload).read_text().split()
        return mode in (upload.mode, "online") and digest == files.file_digest(upload.store.root / "summary.json")
    except (OSError, ValueError):
        return False


def _note(upload: Upload) -> Path:
    return upload.store.results_dir / "wandb" / f"{upload.store.run_id}.sent"


@contextmanager
def quiet() -> Iterator[None]:
    """Set wandb up for this process before it is imported: silent, and not taking this process for the run it sends."""
    os.environ.update(WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_ERROR_REPORTING="false", WANDB_DISABLE_GIT="true")
    os.environ.update(WANDB_DISABLE_CODE="true", WANDB__DISABLE_STATS="true", WANDB__DISABLE_META="true")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    for name in ("WANDB_MODE", "WANDB_DISABLED"):  # the command has decided
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="ldsmc_bench-", ignore_cleanup_errors=True) as scratch:
        # Nothing is left under the home directory; an offline run's table must then be in the run's own folder.
        os.environ.update(WANDB_DATA_DIR=scratch, WANDB_CACHE_DIR=scratch, WANDB_ALLOW_OFFLINE_ARTIFACTS="false")
        yield


def main(job: int, command: int, time_limit: float) -> None:
    """Send the uploads in the file `job` for the process `command`, which closes stdin when the run has ended.

    The exit code is 1 if W&B failed, with one line on stderr. Once the command is gone, this process and all that it
    started have `time_limit` seconds; before, the command limits their time.
    """

    def is_over() -> bool:  # a child of a command that is gone may keep stdin open
        return bool(select.select([0], [], [], LOOK_EVERY)[0]) or os.getppid() != command

    def die_after_command() -> None:
        while os.getppid() == command:
            time.sleep(LOOK_EVERY)
        time.sleep(time_limit)
        os.killpg(0, signal.SIGKILL)

    os.nice(10)
    Thread(target=die_after_command, daemon=True).start()
    with open(job, "rb") as file, quiet():
        try:
            from ldsmc_bench.tracking.send import send

            for upload in pickle.load(file):
                send(upload, is_over)
                if upload.shards > 1 and concluded(upload.store) and not is_uploaded(upload):
                    send(upload.whole)
        except Exception as error:  # W&B's own, of any kind
            sys.exit(f"error: {type(error).__name__}: {one_line(error)}")


@cache
def _stderr() -> IO[str]:
    return tempfile.TemporaryFile("a+", errors="replace")


def _start(uploads: Sequence[Upload]) -> IO[bytes] | None:
    """Start a follower; return its stdin, which ends it when closed; None, with a warning, where that fails."""
    try:
        with tempfile.TemporaryFile() as job:
            pickle.dump([*uploads], job)
            job.seek(0)
            arguments = f"{job.fileno()}, {os.getpid()}, {TIME_LIMIT}"
            process = subprocess.Popen(
                [sys.executable, "-c", f"from ldsmc_bench.tracking.follow import main; main({arguments})"],
                pass_fds=[job.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=_stderr(),
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                start_new_session=True,  # Ctrl-C is not for it, and the limit ends W&B's own processes too
            )
    except OSError as error:
        warn(f"W&B: {one_line(error)}")
        return None
    _followers[process] = [*uploads]
    return process.stdin

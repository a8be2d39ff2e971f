"""An observer that shows a run in W&B while it is made.

W&B shows the content of the store, and nothing depends on it. Each command has a process beside it, the follower, which
reads the files of its runs, one after the other, until the command ends. So sampling never waits for W&B.
"""

import atexit
import os
import pickle
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig

from ldsmc_bench import files
from ldsmc_bench.errors import UserError, notify, one_line, warn
from ldsmc_bench.records.jobs import launch_of
from ldsmc_bench.records.status import concluded
from ldsmc_bench.records.store import Store

if TYPE_CHECKING:
    from ldsmc_bench.running.context import Run

TIME_LIMIT = 60.0  # seconds for what is still to be sent when a command ends; offline it takes about a second a run
LOOK_EVERY = 2.0  # seconds
LEADING = ("psnr", "lpips_vgg", "toyfaces_perceptual", "ess")  # W&B's first charts are their means so far


@dataclass(frozen=True)
class Upload:
    """A run to be shown as one W&B run, whose id is the run's, or that which a W&B agent gave its `trial`.

    `gpu`: system metrics are of interest; `since`: the size that the copy of the console had before.
    """

    store: Store
    mode: str = "offline"
    trial: str = ""
    gpu: bool = False
    since: int = sys.maxsize

    @property
    def id(self) -> str:
        """The id of the W&B run."""
        return self.trial or self.store.run_id

    def file(self, kind: str) -> Path:
        """The file that is kept for the W&B run beside its folders: `rows`, `console`, `sent`, `lock`."""
        return self.store.results_dir / "wandb" / f"{self.id}.{kind}"


def so_far(name: str) -> str:
    """The key of a mean so far: W&B puts one without a prefix first."""
    return name if name in LEADING else f"running/{name}"


class Follower(NamedTuple):
    """The process that sends a command's runs one after the other, and those that it was given."""

    process: subprocess.Popen[bytes]
    errors: IO[str]
    uploads: list[Upload]


_follower: Follower | None = None


@contextmanager
def observe(run: "Run") -> Iterator[None]:
    """Show a run in W&B while the block makes it; a finished one too, unless W&B has it.

    Raises UserError where WANDB_MODE names no mode, or a W&B agent's trial is a sweep, and otherwise never, nor asks:
    if W&B is missing, fails, or needs more than `TIME_LIMIT` seconds after the command, one warning goes to stderr, and
    this process sends no further run.
    """
    live, done, mode = bool(run.batches), False, choose_mode(run.settings.config["wandb"]["mode"])
    if mode == "disabled":
        yield
        return
    upload = Upload(run.store, mode, trial(), live and run.settings.device.type == "cuda")
    with _copied(upload.file("console")) if live else nullcontext(upload.since) as since:
        if live:
            _hand_over(replace(upload, since=since))
        try:
            yield
            done = True
        finally:
            if live:
                _hand_over(done)
            elif concluded(run.store) and not is_uploaded(upload):
                _hand_over(upload, True)


def trial() -> str:
    """The id that a W&B agent gave its trial, which this command is; empty without an agent.

    Raises UserError where the command is a sweep, whose runs would all be that trial.
    """
    if not os.environ.get("WANDB_SWEEP_ID"):
        return ""
    if HydraConfig.initialized() and launch_of(HydraConfig.get()).points != 1:
        raise UserError("-m: a trial of a W&B agent is one run; leave it to the agent to vary values")
    return os.environ.get("WANDB_RUN_ID", "")


@contextmanager
def _copied(path: Path) -> Iterator[int]:
    """Append what is printed inside to a file, as far as that is possible; the value is the file's size before."""

    def write_both(write: Callable[[str], int], text: str) -> int:
        with suppress(OSError):
            copy.write(text.encode(errors="backslashreplace"))
        return write(text)

    with ExitStack() as stack:
        since = 0
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            copy = stack.enter_context(open(path, "ab", buffering=0))
            since = copy.tell()
            copy.write(f"$ {shlex.join(sys.orig_argv)}\n".encode(errors="backslashreplace"))
            for stream in (sys.stdout, sys.stderr):
                stack.callback(setattr, stream, "write", stream.write)
                stream.write = partial(write_both, stream.write)  # type: ignore[method-assign]
        yield since


def _hand_over(*jobs: Upload | bool) -> None:
    """Give the follower, started first, its next jobs: an upload and, once its run ends, whether it ended well."""
    global _follower
    try:
        _follower = _follower or _start()
        _follower.uploads.extend(job for job in jobs if isinstance(job, Upload))
        for job in jobs:
            os.write(_follower.process.stdin.fileno(), pickle.dumps(job))  # type: ignore[union-attr]
    except BrokenPipeError:  # W&B failed: at the end a line says why
        pass
    except BlockingIOError:  # hundreds of runs wait: the line at the end has the command that sends them
        os.killpg(_follower.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    except OSError as error:
        warn(f"W&B: {one_line(error)}")


def _start() -> Follower:
    atexit.register(finish)
    errors = tempfile.TemporaryFile("a+", errors="replace")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-c", f"from ldsmc_bench.tracking.follow import main; main({os.getpid()}, {TIME_LIMIT})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,  # Ctrl-C is not for it, and the limit ends W&B's own processes too
    )
    os.set_blocking(process.stdin.fileno(), False)  # type: ignore[union-attr]
    return Follower(process, errors, [])


def finish() -> None:
    """Wait until W&B has everything, for `TIME_LIMIT` seconds at most. Called when the process ends.

    A failure is one warning, with the command that sends the runs that are finished.
    """
    global _follower
    follower, _follower, failure = _follower, None, ""
    if follower is None:
        return
    process = follower.process
    process.stdin.close()  # type: ignore[union-attr]
    try:
        process.wait(TIME_LIMIT)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        failure = "interrupted" if interrupted else f"it took more than {TIME_LIMIT:g} s"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    follower.errors.seek(0)
    lines = follower.errors.read().splitlines()
    for line in lines:
        if line.startswith("warning: "):
            notify(line)
    if process.returncode:
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        left = [one for one in follower.uploads if concluded(one.store) and not is_uploaded(one)]
        again = "".join(
            f"; to send what is finished: python -m ldsmc_bench wandb mode={one.mode} "
            f"results_dir={one.store.results_dir} {' '.join(sorted({one.store.run_id for one in left}))}"
            for one in left[:1]
        )
        reason = failure or (errors or [f"exit code {process.returncode}"])[0]
        warn(f"W&B is left alone from here on, the results are safe ({reason}){again}")


def choose_mode(mode: str) -> str:
    """The mode for `wandb.mode`: for `auto`, that of WANDB_DISABLED or WANDB_MODE, else offline, for an agent online.

    Raises UserError where WANDB_MODE names no mode.
    """
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on")
    usual = "online" if os.environ.get("WANDB_SWEEP_ID") else "offline"  # an agent waits for metrics
    name = "disabled" if disabled else os.environ.get("WANDB_MODE") or usual
    chosen = {"run": "online", "dryrun": "offline"}.get(name, name) if mode == "auto" else mode  # W&B's older names
    if chosen not in ("online", "offline", "disabled"):
        raise UserError(f"WANDB_MODE={name}: must be online, offline or disabled; wandb.mode=... overrides it")
    return chosen


def mark_uploaded(upload: Upload) -> None:
    """Note that W&B has the run with its present summary."""
    digest = files.file_digest(upload.store.root / "summary.json")
    files.replace(upload.file("sent"), f"{upload.mode} {digest}".encode())


def is_uploaded(upload: Upload) -> bool:
    """True if W&B has the run with its present summary, in this mode or online."""
    try:
        mode, digest = upload.file("sent").read_text().split()
        return mode in (upload.mode, "online") and digest == files.file_digest(upload.store.root / "summary.json")
    except (OSError, ValueError):
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """Set wandb up for this process before it is imported: silent, and not taking this process for the run it sends."""
    os.environ.update(WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_ERROR_REPORTING="false", WANDB_DISABLE_GIT="true")
    os.environ.update(WANDB_DISABLE_CODE="true", WANDB__DISABLE_META="true")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    for name in ("WANDB_MODE", "WANDB_DISABLED"):  # the command has decided
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="ldsmc_bench-", ignore_cleanup_errors=True) as scratch:
        os.environ.update(WANDB_DATA_DIR=scratch, WANDB_CACHE_DIR=scratch)  # nothing is left in the home directory
        yield


def main(command: int, time_limit: float) -> None:
    """Send the uploads that the process `command` writes to stdin, until it closes that.

    The exit code is 1 if W&B failed, with one line on stderr. Once the command is gone, this process and all that it
    started have `time_limit` seconds; before, the command limits their time.
    """

    def take_job() -> Any:
        """The next job, None where there is none yet, False where there will be none."""
        if not select.select([jobs], [], [], LOOK_EVERY)[0]:
            return None if os.getppid() == command else False  # a child of a command that is gone may keep stdin open
        with suppress(EOFError):
            return pickle.load(jobs)
        return False

    def die_after_command() -> None:
        while os.getppid() == command:
            time.sleep(LOOK_EVERY)
        time.sleep(time_limit)
        os.killpg(0, signal.SIGKILL)

    os.nice(10)
    Thread(target=die_after_command, daemon=True).start()
    with open(os.dup(0), "rb", buffering=0) as jobs, open(os.devnull) as nothing, quiet():
        os.dup2(nothing.fileno(), 0)  # who asks for anything gets no answer
        try:
            from ldsmc_bench.tracking.send import send

            while (upload := take_job()) is not False:
                if upload is not None:
                    send(upload, take_job)
        except Exception as error:  # W&B's own, of any kind
            sys.exit(f"error: {type(error).__name__}: {one_line(error)}")

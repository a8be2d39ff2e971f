"""Finished runs in Weights & Biases: `python -m ldsmc_bench.report.wandb [--mode online] RUN_ID...`.

W&B shows what the store holds and nothing depends on it. So a run is sent in one pass once it is complete, by a process
of its own with a limit of time: whatever W&B does there, the run stands, and can be sent again with this command.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import replace
from ldsmc_bench.records.store import Store, runs

Mode = Literal["online", "offline"]

TIME_LIMIT = 60.0  # seconds for one run; offline it takes about two
_warned: set[str] = set()  # what this process warned of: nothing twice
_given_up: list[str] = []  # the failure after which W&B is left alone: a sweep must not wait for it run after run


def mirror(store: Store, mode: str) -> None:
    """Show a complete run in W&B, `online` or `offline`, unless it is there with the same summary.

    `disabled` does nothing. Never raises and never asks: if W&B is missing, fails, or takes longer than `TIME_LIMIT`,
    one warning goes to stderr, and this process tries no further run.
    """
    if mode == "disabled" or _given_up or _stands(store, mode):
        return
    code, stderr = _in_own_process(store, mode)
    lines = [line for line in stderr.splitlines() if line.strip()]
    if code == 0:
        for line in lines:
            if line.startswith("warning: "):
                _warn(line.removeprefix("warning: "))
        return
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    _given_up.append((errors or lines or [f"exit code {code}"])[-1])
    again = f"python -m ldsmc_bench.report.wandb --mode {mode} --results-dir {_results(store)} {store.run_id}"
    _warn(f"W&B is left alone from here on, the results are safe ({_given_up[-1]}); to send this run later: {again}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Send runs whether they were sent before or not; the exit code is 0, or 1 if one could not be sent."""
    parser = argparse.ArgumentParser(
        prog="python -m ldsmc_bench.report.wandb", description="Send finished runs to W&B, from the store."
    )
    parser.add_argument("run_ids", nargs="+", metavar="RUN_ID", help="a finished run, a folder name under runs/")
    parser.add_argument("--mode", choices=("online", "offline"), default="offline", help="default: offline")
    parser.add_argument("--results-dir", default="results", help="the folder that holds runs/ (default: results)")
    options = parser.parse_args(arguments)
    errors = 0
    with tempfile.TemporaryDirectory(prefix="ldsmc_bench-", ignore_cleanup_errors=True) as scratch:
        _quieten(scratch)
        for run_id in options.run_ids:
            try:
                print(f"{run_id}: {_send(_finished(options.results_dir, run_id), options.mode)}")
                continue
            except UserError as error:
                line = str(error)
            except Exception as error:  # W&B's own, of whatever kind
                line = f"{run_id}: {type(error).__name__}: {' '.join(str(error).split())}"
            errors += 1
            print(f"error: {line}", file=sys.stderr)
    return min(errors, 1)


def _quieten(scratch: str) -> None:
    """Set wandb up for this process, before it is imported."""
    # It prints nothing, reports none of its own errors home, and does not take this process for the run it sends.
    os.environ.update(WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_ERROR_REPORTING="false", WANDB_DISABLE_GIT="true")
    os.environ.update(WANDB_DISABLE_CODE="true", WANDB__DISABLE_STATS="true", WANDB__DISABLE_META="true")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")
    # It leaves nothing under the home directory; the table of an offline run must then lie in the run's own folder.
    os.environ.update(WANDB_DATA_DIR=scratch, WANDB_CACHE_DIR=scratch, WANDB_ALLOW_OFFLINE_ARTIFACTS="false")


def _send(store: Store, mode: Mode) -> str:
    """Send one run and remember it; returns where it is. Without a key for W&B it stays offline, with a warning."""
    from ldsmc_bench.report.wandb_send import has_key, send

    if mode == "online" and not has_key():
        print("warning: wandb.mode=online: no W&B key here, so offline it is; `wandb login` gives one", file=sys.stderr)
        mode = "offline"
    summary = _digest(store)
    where = send(store, mode, _results(store))
    replace(_note(store), (json.dumps({"mode": mode, "summary": summary}) + "\n").encode())
    return where


def _finished(results_dir: str, run_id: str) -> Store:
    store = next((store for store in runs(results_dir) if store.run_id == run_id), None)
    if store is None:
        raise UserError(f"{run_id}: no such run in {results_dir}; python -m ldsmc_bench.status lists them")
    if not (store.root / "summary.json").exists():
        raise UserError(f"{run_id}: not finished yet; give its command again to bring it to its end")
    return store


def _in_own_process(store: Store, mode: str) -> tuple[int, str]:
    """Run this file's command; past the limit end it and all that it started. Its exit code and its stderr."""
    command = [sys.executable, "-m", "ldsmc_bench.report.wandb", "--mode", mode]
    command += ["--results-dir", str(_results(store)), store.run_id]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that the limit ends W&B's own processes too
        )
    except OSError as error:
        return 1, f"error: {error}"
    try:
        _, stderr = process.communicate(timeout=TIME_LIMIT)
        return process.returncode, stderr
    except subprocess.TimeoutExpired:
        return 1, f"error: it took more than {TIME_LIMIT:g} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _stands(store: Store, mode: str) -> bool:
    """Whether W&B has the run as its summary now says; one that is online need not go offline."""
    try:
        note = json.loads(_note(store).read_bytes())
        return note["summary"] == _digest(store) and note["mode"] in (mode, "online")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digest(store: Store) -> str:
    return hashlib.sha256((store.root / "summary.json").read_bytes()).hexdigest()


def _note(store: Store) -> Path:
    return _results(store) / "wandb" / f"{store.run_id}.json"


def _results(store: Store) -> Path:
    return store.root.parent.parent


def _warn(line: str) -> None:
    if line not in _warned:
        _warned.add(line)
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

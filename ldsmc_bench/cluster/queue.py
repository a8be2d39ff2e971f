"""What SLURM says of jobs: `squeue` of those that wait or run, `sacct` of those that ended. Either may not answer."""

import getpass
import subprocess
from collections.abc import Iterable

TIME_LIMIT = 60.0  # seconds for an answer; a busy controller may take some


def live() -> dict[str, str] | None:
    """The state of each of this user's jobs that has not ended, as {"12_3": "RUNNING"}; None without an answer.

    One question for all jobs, however many: a controller is shared by everybody.
    """
    lines = _asked("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T")
    return None if lines is None else dict(line.split("|", 1) for line in lines)


def ended(jobs: Iterable[str]) -> dict[str, str]:
    """How jobs ended, as {"12_3": "FAILED 7:0"}, of those that the accounting knows: exit code, then signal."""
    wanted = set(jobs)
    if not wanted:
        return {}
    options = ("--noheader", "--allocations", "--parsable2", "--format=JobID,State,ExitCode")
    arrays = ",".join(sorted({job.split("_")[0] for job in wanted}))
    lines = _asked("sacct", *options, f"--jobs={arrays}") or []
    states = {job: f"{state} {code}" for job, state, code in (line.split("|") for line in lines)}
    return {job: state for job, state in states.items() if job in wanted}


def _asked(*command: str) -> list[str] | None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]

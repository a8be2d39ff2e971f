"""Submits a sweep to SLURM, an array for each method with resources of its own and one for the others; waits for it."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import submitit
from hydra.core.singleton import Singleton
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from submitit.core.utils import FailedJobError, FailedSubmissionError

from ldsmc_bench.cluster.jobs import ended_jobs, queued_jobs
from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.files import publish
from ldsmc_bench.records.jobs import Job, keep, launch_of, note

SHORTEST, LONGEST = 2.0, 60.0  # seconds between two looks at the queue


class Point(NamedTuple):
    """A point of a sweep: its number, its overrides, the method that it chooses, and its limit in minutes."""

    number: int
    overrides: list[str]
    method: str
    time_limit: float | None


def submit(launcher: BaseSubmititLauncher, sweep: Sequence[Sequence[str]], first: int) -> None:
    """Submit the points of a sweep, numbered from `first`; wait for them unless launch=detached.

    Points that mean the same work are one job. After the wait each job has its note in the launch, however it ended.
    Raises UserError where SLURM refuses the jobs.
    """
    assert launcher.config is not None
    config, folder = launcher.config, Path(launch_of(launcher.config.hydra).folder)
    points, own = distinct(launcher, sweep, first), launcher.params["by_method"]
    arrays: dict[str, list[Point]] = {}
    for point in points:
        arrays.setdefault(point.method if point.method in own else "", []).append(point)
    executors = {method: _executor(parameters(launcher.params, method), its) for method, its in arrays.items()}
    jobs = [job for method, its in arrays.items() for job in _submit_array(launcher, executors[method], its, folder)]

    name, left_out = " ".join(dict.fromkeys(job.job.split("_")[0] for job in jobs)), len(sweep) - len(jobs)
    span = f"job {jobs[0].job}" if len(jobs) == 1 else f"{len(jobs)} jobs, {jobs[0].job} to {jobs[-1].job}"
    _print(f"submitted {span}" + (f"; {left_out} points are the same work as others" if left_out else ""))
    if config.launch == "detached":
        status = f"python -m ldsmc_bench status results_dir={config.results_dir}"
        _print(f"nothing here waits for them: {status} shows their progress, scancel {name} ends them")
        return
    try:
        _wait(folder, jobs)
    except KeyboardInterrupt:
        _print(f"\nnobody waits any longer, but the jobs go on: scancel {name} ends them")
        raise
    died = [job for job in jobs if not note(folder, job.number).exists()]
    how = ended_jobs([job.job for job in died])
    for job in died:
        # Not over a note that the job itself has left in this very instant.
        why = f"the job died{f', {how[job.job]}' if job.job in how else ''} (log: {job.log})"
        keep(folder, replace(job, error=why), over=False)


def distinct(launcher: BaseSubmititLauncher, sweep: Sequence[Sequence[str]], first: int) -> list[Point]:
    """The points of a sweep, numbered from `first`, without those of the same work as an earlier one."""
    assert launcher.config is not None and launcher.hydra_context is not None
    loader = launcher.hydra_context.config_loader
    points: dict[str, Point] = {}
    for number, overrides in enumerate(sweep, start=first):
        config = loader.load_sweep_config(launcher.config, list(overrides))
        method = str(config.hydra.runtime.choices.get("method"))
        point = Point(number, list(overrides), method, config.get("time_limit"))
        points.setdefault(work(config, overrides), point)
    return list(points.values())


def parameters(params: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The launcher's keys for the jobs of `method`. Raises UserError for a key of its own that is none of them."""
    common = {key: value for key, value in params.items() if key != "by_method"}
    own = params["by_method"].get(method) or {}
    if unknown := [key for key in own if key not in common]:
        line = f"hydra.launcher.by_method.{method}.{unknown[0]}: no such key of the launcher"
        raise UserError(f"{line}; {nearest(unknown[0], list(common))}")
    return common | own


def _submit_array(
    launcher: BaseSubmititLauncher, executor: submitit.AutoExecutor, points: Sequence[Point], folder: Path
) -> list[Job]:
    """Submit points as one array, and note them."""
    state = Singleton.get_state()
    arguments = [(one.overrides, "hydra.sweep.dir", one.number, f"job_id_for_{one.number}", state) for one in points]
    try:
        taken = executor.map_array(launcher, *zip(*arguments, strict=True))
    except (FailedJobError, FailedSubmissionError) as error:
        reason = " ".join(str(error).replace("sbatch: error: ", "").split())
        raise UserError(f"hydra/launcher=slurm: SLURM refused the jobs ({reason})") from error
    pairs = zip(points, taken, strict=True)
    jobs = [Job(one.number, one.overrides, str(job.paths.stderr), job=str(job.job_id)) for one, job in pairs]
    note_submitted(folder, jobs)
    return jobs


def note_submitted(folder: Path, jobs: Sequence[Job]) -> None:
    """Keep the jobs of a launch, for `status` and for the report at its end, before any of them leaves its own note."""
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / f"submitted-{jobs[0].number}.json", json.dumps([asdict(job) for job in jobs]).encode())


def work(config: DictConfig, overrides: Sequence[str]) -> str:
    """A text that is equal for points of the same work; particles and steps count as far as the sampler takes them."""
    apart = ("hydra", "method", "particles", "steps", "tuned", "tuned_row", "variant")
    keys = [key for key in config if key not in apart]
    try:
        read = [config.method.sample, *(config[key] for key in keys)]
        return json.dumps([OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for v in read])
    except OmegaConfBaseException:
        return json.dumps(list(overrides))  # the job itself will report the mistake


def require_times(params: Mapping[str, Any], points: Sequence[Point]) -> None:
    """Raise UserError where a job would be warned before half of its time is up, or queued again, to count anew, before
    its run reaches `time_limit`."""
    limit, notice = 60 * params["timeout_min"], params["signal_delay_s"]
    if 2 * notice > limit:
        line = f"a job is warned {notice} s before its {limit} s are up; make it less than half of timeout_min"
        raise UserError(f"hydra.launcher.signal_delay_s={notice}: {line}")
    for minutes in (one.time_limit for one in points):
        if isinstance(minutes, int | float) and 60 * minutes >= limit - notice:
            line = f"a job is queued again {notice} s before timeout_min={params['timeout_min']}, and then counts anew"
            raise UserError(f"time_limit={minutes}: {line}; make it less, or leave it out")


def _executor(params: Mapping[str, Any], points: Sequence[Point]) -> submitit.AutoExecutor:
    """Submitit with the launcher's keys: submitit's own as they are, SLURM's with a prefix."""
    if shutil.which("sbatch") is None:
        raise UserError("hydra/launcher=slurm: there is no sbatch here; give the command on a login node of a cluster")
    require_times(params, points)
    options, common = dict(params), set(OmegaConf.structured(BaseQueueConf))
    folder, timeouts = options.pop("submitit_folder"), options.pop("max_num_timeout")
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(**{key if key in common else f"slurm_{key}": value for key, value in options.items()})
    return executor


def _wait(folder: Path, jobs: Sequence[Job]) -> None:
    """Wait until SLURM lists none of the jobs. A requeued one is listed, whatever it wrote before.

    A job may be absent for a moment while it moves back into the queue: without a note it has ended only when it is
    absent twice. While SLURM does not answer, the note alone counts.
    """
    left, absent, printed, pause = list(jobs), set[str](), "", SHORTEST
    while left:
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST)
        states = queued_jobs()
        gone = {job.job for job in left if job.job not in (states or ())}
        seen = {job.job for job in left if note(folder, job.number).exists()}
        over = gone & seen if states is None else gone & (seen | absent)
        absent = set() if states is None else gone
        left = [job for job in left if job.job not in over]
        count = Counter((states or {}).get(job.job, "unknown").lower() for job in left)
        line = ", ".join([*(f"{number} {state}" for state, number in count.items()), f"{len(jobs) - len(left)} ended"])
        if line != printed:
            _print(line)
            printed = line


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

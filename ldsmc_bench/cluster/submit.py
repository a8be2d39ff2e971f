"""A sweep handed to SLURM as one job array, and the wait for its end."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import submitit
import yaml
from hydra.core.singleton import Singleton
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from submitit.core.utils import FailedJobError, FailedSubmissionError

from ldsmc_bench.cluster import queue
from ldsmc_bench.cluster.notes import Submitted
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.publish import publish

SHORTEST, LONGEST = 2.0, 60.0  # seconds between two looks at the queue


def submit(launcher: BaseSubmititLauncher, sweep: Sequence[Sequence[str]], first: int) -> None:
    """Submit the points of a sweep, numbered from `first`; wait for them unless launch=detached.

    Points that come to the same work are one job. After the wait each job has an `outcome.json` in its folder, whatever
    became of it. Raises UserError where SLURM does not take the jobs.
    """
    assert launcher.config is not None and launcher.hydra_context is not None
    config, folder = launcher.config, Path(launcher.config.hydra.sweep.dir)
    loader, points = launcher.hydra_context.config_loader, dict(enumerate(sweep, start=first))
    same: dict[str, int] = {}
    for number, overrides in points.items():
        same.setdefault(work(loader.load_sweep_config(config, list(overrides)), overrides), number)

    state, executor = Singleton.get_state(), _executor(launcher.params)
    arguments = [(list(points[n]), "hydra.sweep.dir", n, f"job_id_for_{n}", state) for n in same.values()]
    try:
        taken = executor.map_array(launcher, *zip(*arguments, strict=True))
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).replace("sbatch: error: ", "").split())
        raise UserError(f"hydra/launcher=slurm: SLURM refused the jobs ({said})") from error
    numbered = zip(same.values(), taken, strict=True)
    jobs = [Submitted(str(job.job_id), n, list(points[n]), str(job.paths.stderr)) for n, job in numbered]
    for job in jobs:  # so that a job which dies before it starts is known by what it was asked
        (folder / str(job.number) / ".hydra").mkdir(parents=True, exist_ok=True)
        publish(folder / str(job.number) / ".hydra" / "overrides.yaml", yaml.safe_dump(job.overrides).encode())
    publish(folder / "submitted.json", json.dumps([asdict(job) for job in jobs]).encode())

    name, left_out = jobs[0].job.split("_")[0], len(points) - len(jobs)
    _say(f"submitted {_range(jobs)}" + (f"; {left_out} points are the same work as others" if left_out else ""))
    if config.launch == "detached":
        status = f"python -m ldsmc_bench.status --results-dir {config.results_dir}"
        _say(f"nothing here waits for them: {status} tells how they do, scancel {name} ends them")
        return
    try:
        _wait(folder, jobs)
    except KeyboardInterrupt:
        _say(f"\nnobody waits any longer, but the jobs go on: scancel {name} ends them")
        raise
    died = [job for job in jobs if not _outcome(folder, job).exists()]
    how = queue.ended(job.job for job in died)
    for job in died:
        # Not over what a job of this very instant says itself.
        why = f"the job died{f', {how[job.job]}' if job.job in how else ''} (log: {job.log})"
        publish(_outcome(folder, job), json.dumps({"run_id": None, "error": why}).encode())


def work(config: DictConfig, overrides: Sequence[str]) -> str:
    """What a job would do. A method reads particles and steps through its sampler's arguments, if it reads them."""
    keys = [key for key in config if key not in ("hydra", "method", "particles", "steps", "variant")]
    try:
        read = [config.method.sample, *(config[key] for key in keys)]
        return json.dumps([OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for v in read])
    except OmegaConfBaseException:
        return json.dumps(list(overrides))  # the job itself will say what is wrong


def _executor(params: Mapping[str, Any]) -> submitit.AutoExecutor:
    """Submitit with the launcher's keys: those of its own for any cluster, SLURM's with a prefix."""
    if shutil.which("sbatch") is None:
        raise UserError("hydra/launcher=slurm: there is no sbatch here; give the command on a login node of a cluster")
    limit, notice = 60 * params["timeout_min"], params["signal_delay_s"]
    if 2 * notice > limit:
        raise UserError(
            f"hydra.launcher.signal_delay_s={notice}: a job is told {notice} s before its {limit} s are up; "
            "make it less than half of timeout_min"
        )
    common, ours = set(OmegaConf.structured(BaseQueueConf)), ("submitit_folder", "max_num_timeout")
    executor = submitit.AutoExecutor(
        params["submitit_folder"], cluster="slurm", slurm_max_num_timeout=params["max_num_timeout"]
    )
    options = {key: value for key, value in params.items() if key not in ours}
    executor.update_parameters(**{key if key in common else f"slurm_{key}": value for key, value in options.items()})
    return executor


def _wait(folder: Path, jobs: Sequence[Submitted]) -> None:
    """Until SLURM lists none of the jobs. A requeued one is listed, whatever it wrote before.

    A job may be absent for a moment while it moves back into the queue: without an outcome it has ended only when it
    is absent twice. Where SLURM does not answer, an outcome must do.
    """
    left, absent, said, pause = list(jobs), set[str](), "", SHORTEST
    while left:
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST)
        states = queue.live()
        gone = {job.job for job in left if job.job not in (states or ())}
        seen = {job.job for job in left if _outcome(folder, job).exists()}
        over = gone & seen if states is None else gone & (seen | absent)
        absent = set() if states is None else gone
        left = [job for job in left if job.job not in over]
        count = Counter((states or {}).get(job.job, "unknown").lower() for job in left)
        words = [f"{number} {state}" for state, number in count.items()] + [f"{len(jobs) - len(left)} ended"]
        if (line := ", ".join(words)) != said:
            _say(line)
            said = line


def _outcome(folder: Path, job: Submitted) -> Path:
    return folder / str(job.number) / "outcome.json"


def _range(jobs: Sequence[Submitted]) -> str:
    first, last = jobs[0].job, jobs[-1].job
    return f"job {first}" if len(jobs) == 1 else f"{len(jobs)} jobs, {first} to {last}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""Where Hydra looks for launchers; what they do stands in ldsmc_bench/cluster and ldsmc_bench/preflight.py.

Hydra imports this at every start, so it imports as little as it can.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import DictConfig

Overrides = Sequence[Sequence[str]]


class Slurm(SlurmLauncher):
    """Submits a sweep as one job array and, with launch=attached, waits until SLURM says that every job has ended.

    Unlike its base it never raises for a job, nor waits for one that died: what became of each stands in its folder.
    """

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> Sequence[JobReturn]:
        from ldsmc_bench.cluster.submit import submit

        submit(self, job_overrides, initial_job_idx)
        return _done(job_overrides)


class Preflight(Launcher):
    """Looks at the points of a sweep instead of running them; the other launcher's keys are there to be looked at."""

    def __init__(self, **keys: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> Sequence[JobReturn]:
        from ldsmc_bench.preflight import inspect

        inspect(self.config, self.loader, job_overrides)
        return _done(job_overrides)


def _done(job_overrides: Overrides) -> list[JobReturn]:
    """Nothing for the sweeper to raise."""
    return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

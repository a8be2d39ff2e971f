"""Where Hydra looks for launchers; what they do stands in ldsmc_bench/cluster and ldsmc_bench/preflight.py.

Hydra imports this at every start, so it imports as little as it can.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

Overrides = Sequence[Sequence[str]]


class Slurm(SlurmLauncher):
    """Submits a sweep as one job array and, with launch=attached, waits until SLURM says that every job has ended.

    Unlike its base it never raises for a job, nor waits for one that died: what became of each stands in its folder.
    """

    def launch(self, job_overrides: Overrides, initial_job_idx: int) -> Sequence[JobReturn]:
        from ldsmc_bench.cluster.submit import submit

        submit(self, job_overrides, initial_job_idx)
        return _done(job_overrides)


def _done(job_overrides: Overrides) -> list[JobReturn]:
    """Nothing for the sweeper to raise."""
    return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

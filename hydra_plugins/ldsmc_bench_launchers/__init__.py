"""The launchers `slurm` and `gpus`, and the section `free`, in the folder that Hydra searches at every start: it
imports little."""

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher, SlurmLauncher
from omegaconf import OmegaConf

# A section of a YAML file that takes any key, without a +, has `- /free@<section>` in the file's defaults.
ConfigStore.instance().store("free", OmegaConf.create({}, flags={"struct": False}))


class Slurm(SlurmLauncher):
    """Submits a sweep as one job array and, with launch=attached, waits until SLURM says that every job has ended.

    Unlike its base it never raises for a job, nor waits for one that died: each leaves a note of its end.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from ldsmc_bench.cluster.submit import submit

        submit(self, job_overrides, initial_job_idx)
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]  # nothing for the sweeper to raise


class Gpus(BaseSubmititLauncher):
    """Runs a sweep on the devices of this machine, a process a device. It never raises for a job."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from ldsmc_bench.cluster.gpus import run_on_devices

        run_on_devices(self, job_overrides, initial_job_idx)
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

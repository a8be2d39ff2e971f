"""Samplers that go wrong: LD-SMC with a flaw, given to a run by `tests.commands.flawed`."""

import json
import os
import time
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.cluster.jobs import this_job
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.trace import Trace

UNLUCKY, HELD = "test-000001", "test-000002"


@wraps(ldsmc.sample)
def one_nan(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """One value of one image is not a number."""
    x = ldsmc.sample(prior, measurement, noise, trace, **options)
    if UNLUCKY in noise.image_ids:
        x[noise.image_ids.index(UNLUCKY), 0, 3, 5] = torch.nan
    return x


@wraps(ldsmc.sample)
def infinite_diagnosis(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """The picture is fine, but a diagnostic of one image is infinite."""
    x = ldsmc.sample(prior, measurement, noise, trace, **options)
    if UNLUCKY in noise.image_ids:
        ess = trace.values["ess"][0].clone()
        ess[noise.image_ids.index(UNLUCKY)] = -torch.inf
        trace.values["ess"][0] = ess
    return x


@wraps(ldsmc.sample)
def one_at_a_time(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """Memory suffices for one image, and not for more."""
    if len(measurement.y) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return ldsmc.sample(prior, measurement, noise, trace, **options)


@wraps(ldsmc.sample)
def never_enough(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """Memory suffices for no image at all; the CPU's allocator says it in its own way."""
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8000000 bytes.")


@wraps(ldsmc.sample)
def last_row_is_nan(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """The last row of a batch is not finite."""
    x = ldsmc.sample(prior, measurement, noise, trace, **options)
    x[-1] = torch.nan
    return x


@wraps(ldsmc.sample)
def broken(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """A mistake of a programmer."""
    raise ZeroDivisionError("a mistake\nof a programmer")


@wraps(ldsmc.sample)
def unable(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """A method that cannot do the task by its nature."""
    raise Unsupported("unable: needs a pseudo-inverse, which this task has not")


@wraps(ldsmc.sample)
def blank(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """One picture, whatever the draw."""
    return torch.zeros_like(measurement.y)


def only_steps(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, *, steps: int) -> Tensor:
    """A method without particles: noise fades out over the steps."""
    x = measurement.y
    for _ in range(steps):
        x = x + 0.1 * noise.normal("z", x.shape[1:]).to(x)
        trace(0)
    return x


def gated(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, *, particles: int, steps: int) -> Tensor:
    """As `only_steps`, but it comes to the image HELD only when the folder GATES has a file named by its particles. Who
    is at which images is told in the file `log` there."""
    if gates := os.environ.get("GATES"):
        told = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURMD_NODENAME")}
        told["job"] = this_job()
        with open(f"{gates}/log", "a") as file:
            file.write(json.dumps({**told, "pid": os.getpid(), "particles": particles, "ids": noise.image_ids}) + "\n")
        while HELD in noise.image_ids and not os.path.exists(f"{gates}/{particles}"):
            time.sleep(0.05)
    x = measurement.y * particles
    for _ in range(steps):
        x = x + 0.1 * noise.normal("z", x.shape[1:]).to(x)
        trace(0)
    return x


@wraps(gated)
def raising(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """A mistake of a programmer."""
    raise ZeroDivisionError("a mistake of a programmer")


@wraps(gated)
def dying(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, **options: Any) -> Tensor:
    """A process that ends without a word."""
    os._exit(7)

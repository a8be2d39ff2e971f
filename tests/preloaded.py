"""Everything that a command imports, imported once for all of them, and one configuration composed, which reads Hydra's
plugins."""

import importlib
import pkgutil
import threading

import pandas  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import torch
import torchmetrics.functional.image  # noqa: F401
from tqdm import tqdm

import baselines
from ldsmc_bench import commands, mixture, problem, progress, running, sampling, scoring, toyfaces
from tests.commands import configured

torch.set_num_threads(1)  # a fork keeps no thread but its own
tqdm.set_lock(threading.RLock())  # not one between processes, which a killed one leaves in the system
for package in (baselines, commands, mixture, problem, progress, running, sampling, scoring, toyfaces):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
for name in ("report.table", "report.sheet", "tracking.follow", "cluster.jobs", "__main__"):
    importlib.import_module(f"ldsmc_bench.{name}")
importlib.import_module("ldsmc_bench.run")
configured()

"""The project's commands, each in a process of its own, and its configurations.

A process is forked from one that has imported everything (tests/preloaded.py): a command then takes no longer than its
work. What the process does is what `python -m` does; tests/test_command_line.py starts that too.
"""

import faulthandler
import gc
import json
import logging
import multiprocessing
import os
import pickle
import runpy
import select
import sys
import warnings
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

import tests.composing  # noqa: F401
from ldsmc_bench.__main__ import main
from ldsmc_bench.config import compose, validate
from ldsmc_bench.files import CONF

TINY = ("steps=2", "n_images=2", "batch_size=2", "particles=2", "device=cpu", "wandb.mode=disabled")
LIGHT = (  # a prior in closed form, where a run's networks are not what is tested
    "prior.load._target_=tests.sampling.gaussian.GaussianPrior",
    "prior.image_size=64",
    "+prior.load.shape=[3,64,64]",
    "+prior.load.image_size=64",
)
Files = dict[str, tuple[int, int, bytes]]

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.preloaded"])
_numbers = count()


def serve() -> None:
    """Fork the server of processes from this one, which has imported nearly all that it needs: 8 s of CPU less than a
    fresh one takes. Before any test has run, so that no test's patches are in it."""

    def forked(executable: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        with warnings.catch_warnings(action="ignore"):  # that xdist has a thread, which holds none of our locks
            if pid := os.fork():
                return pid
        try:
            _forget_the_tests({0, 1, 2, resource_tracker.getfd(), *descriptors})
            select.select(descriptors, [], [])  # what is still to import waits for the first command, if there is one
            exec(arguments[-1])  # to its end, which is a SystemExit
        finally:
            util._exit_function()
            os._exit(0)

    resource_tracker.ensure_running()  # which is no fork
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprocessing.util.spawnv_passfds", forked)
        forkserver.ensure_running()


def _forget_the_tests(kept: Set[int]) -> None:
    """Close the files of the test process but these, and take its handlers from Python."""
    for descriptor in {*map(int, os.listdir("/proc/self/fd"))} - kept:
        with suppress(OSError):  # that of the list itself
            os.close(descriptor)
    faulthandler.disable()
    logging.root.handlers.clear()
    gc.freeze()  # no collection in a command looks through what was imported


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that say what went wrong; a progress bar may stand before them."""
        return [line for line in self.err.replace("\r", "\n").splitlines() if line.startswith("error: ")]


@dataclass(frozen=True)
class Running:
    process: Any
    out: Path
    err: Path

    def done(self, seconds: float = 300) -> Done:
        """Wait for the end. The code is negative where a signal ended it."""
        self.process.join(timeout=seconds)
        assert self.process.exitcode is not None, f"still running: {self.err.read_text()}"
        return Done(self.process.exitcode, self.out.read_text(), self.err.read_text())


def start(
    folder: Path, *arguments: str, module: str = "ldsmc_bench", first: Callable[[], object] | None = None
) -> Running:
    """Start `python -m <module> <arguments>` in `folder`; `first` is called in the new process before anything else."""
    number = next(_numbers)
    out, err = (folder / f".{number}.{name}" for name in ("out", "err"))
    environment = dict(os.environ)  # as a command has it: the server keeps that of the moment when it was started
    process = _processes.Process(target=_main, args=(folder, module, arguments, out, err, first, environment))
    process.start()
    return Running(process, out, err)


def command(folder: Path, *arguments: str, **how: Any) -> Done:
    """Run `python -m ldsmc_bench <arguments>` in `folder` to its end."""
    return start(folder, *arguments, **how).done()


def tiny(folder: Path, *arguments: str, **how: Any) -> Done:
    """A run of seconds, with its results in `folder/results`; `arguments` override what makes it small."""
    return command(folder, *TINY, *arguments, **how)


def whole_run(folder: Path, *arguments: str) -> Path:
    """The folder of the only run of a `tiny` command that has to succeed."""
    done = tiny(folder, *arguments)
    assert done.code == 0, done.err
    (run,) = runs(folder)
    return run


def _main(
    folder: Path,
    module: str,
    arguments: Sequence[str],
    out: Path,
    err: Path,
    first: Callable[[], object] | None,
    environment: dict[str, str],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = os.fdopen(1, "w", closefd=False)  # not pytest's
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    import torch

    torch.set_num_threads(1)
    if first is not None:
        first()
    sys.argv = [module, *arguments]
    ran = f"{module}.__main__" if hasattr(sys.modules.get(module), "__path__") else module
    sys.modules.pop(ran, None)  # it was imported ahead, which runpy warns of
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def here(*arguments: str) -> int:
    """Run `python -m ldsmc_bench <arguments>` in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ldsmc_bench", *arguments])
        try:
            return main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1


def flawed(sampler: str) -> tuple[str, str]:
    """The overrides that have a run use this one of tests/samplers.py."""
    return f"method.sample._target_=tests.samplers.{sampler}", f"method.name={sampler}"


def configured(*overrides: str) -> DictConfig:
    """The configuration that these overrides make, of one's own. The choices of files among them are composed once,
    which takes 0.1 s; Hydra then sets the values, as it does when it composes."""
    chosen = [one for one in overrides if (CONF / one.lstrip("+").partition("=")[0]).is_dir() or one[:6] == "hydra."]
    cfg = pickle.loads(_composed(*chosen))
    values = OverridesParser.create().parse_overrides([one for one in overrides if one not in chosen])
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg


@cache
def _composed(*overrides: str) -> bytes:
    return pickle.dumps(compose(*overrides))


def arguments(*overrides: str) -> dict[str, Any]:
    """The sampler's arguments that these overrides make, validated once."""
    return dict(_arguments(overrides))


@cache
def _arguments(overrides: tuple[str, ...]) -> dict[str, Any]:
    return validate(configured(*overrides)).sample


def choice(group: str, name: str) -> DictConfig:
    """A file of a configuration group, to be put into a composed one, which is quicker than composing anew."""
    found = OmegaConf.load(CONF / group / f"{name}.yaml")
    assert isinstance(found, DictConfig)
    return found


def choices(group: str) -> list[str]:
    """The names of a configuration group, but for those of which the user names operator, network or shape."""
    return [name for name in every_choice(group) if name not in ("deepinv", "diffusers", "arrays")]


def every_choice(group: str) -> list[str]:
    """The names of a configuration group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def runs(folder: Path) -> list[Path]:
    """The folders of all runs in `folder/results`, by number of particles."""
    found = (folder / "results" / "runs").glob("[!.]*")  # the view of the store is hidden

    def particles(run: Path) -> int:
        asked = run / "requested.json"  # absent where a process was killed before it could ask
        return json.loads(asked.read_text())["particles"] if asked.exists() else 0

    return sorted(found, key=particles)


def records(run: Path) -> dict[str, dict[str, Any]]:
    """The records of a run, by image."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((run / "records").glob("*.json"))}


def images(run: Path) -> dict[str, bytes]:
    """The pictures of a run, by image."""
    return {path.stem: path.read_bytes() for path in sorted((run / "images").glob("*.png"))}


def repeatable(run: Path) -> dict[str, dict[str, Any]]:
    """The records of a run without what the clock and the checkout say, which may change while tests run."""
    found = records(run)
    for record in found.values():
        record["cost"].pop("seconds", None)
        record.pop("code", None)
    return found


def files(run: Path) -> Files:
    """What would show that a file was written again: inode, time and content of records and pictures."""
    kept = [*(run / "records").glob("*.json"), *(run / "images").glob("*.png")]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in kept}

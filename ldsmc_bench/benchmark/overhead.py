"""What a run costs besides sampling: real ones on toyfaces, in folders that are removed."""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from ldsmc_bench.benchmark.case import composed
from ldsmc_bench.records.store import Store, read
from ldsmc_bench.run import run

FIXED = ("dataset=toyfaces", "wandb.mode=disabled")
SHORT = ("steps=2", "particles=1")  # what is not sampling does not depend on them
SAMPLING = "restore"  # the step of a run that samples


@dataclass(frozen=True)
class Overhead:
    """Seconds of a run and of the sampling in it; and what share of the rest each other step of `run` has, the longest
    first."""

    images: int
    whole: float
    sampling: float
    steps: dict[str, float]

    @property
    def seconds(self) -> float:
        """What is not sampling."""
        return self.whole - self.sampling

    @property
    def share(self) -> float:
        """That, as a share of the whole."""
        return self.seconds / self.whole


def overhead(overrides: Sequence[str] = ()) -> Overhead:
    """Of a run with these overrides of the defaults, once a short one has loaded what a process loads once. A third,
    short again, is divided into its steps by Python's profiler, which would slow the second down."""
    short = [*overrides, *SHORT]
    _ran(short, run)
    images, whole, sampling = _ran(overrides, run)
    profile = cProfile.Profile()
    *_, of_short = _ran(short, lambda cfg: profile.runcall(run, cfg))
    steps = _called_by_run(profile)
    steps[SAMPLING] = max(0.0, steps.get(SAMPLING, 0.0) - of_short)
    total = sum(steps.values())
    ordered = sorted(steps.items(), key=lambda step: -step[1])
    return Overhead(images, whole, sampling, {name: seconds / total for name, seconds in ordered})


def _ran(overrides: Sequence[str], run: Callable[[DictConfig], Store]) -> tuple[int, float, float]:
    """The images of a run, its seconds, and those of the sampling in it."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed([*FIXED, *overrides, f"results_dir={folder}"])
        begun = time.perf_counter()
        store = run(cfg)
        whole = time.perf_counter() - begun
        return cfg.n_images, whole, sum(record["cost"]["seconds"] for record in read(store))


def _called_by_run(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds in each function that `run` itself calls, by name."""
    caller = (run.__code__.co_filename, run.__code__.co_firstlineno, run.__name__)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    found: dict[str, float] = {}
    for (_, _, name), (*_, callers) in stats.items():
        if caller in callers:
            found[name] = found.get(name, 0.0) + callers[caller][3]
    return found


def told(found: Overhead) -> list[str]:
    """For a terminal: the share, and the steps that make at least a hundredth of the overhead."""
    steps = [f"{name} {100 * share:.0f} %" for name, share in found.steps.items() if share > 0.01]
    return [
        f"overhead of a run of {found.images} toyfaces: {found.seconds:.2f} s, {100 * found.share:.1f} % of "
        f"{found.whole:.1f} s",
        f"  of which {', '.join(steps)}",
    ]

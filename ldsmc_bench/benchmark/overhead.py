"""What a run costs besides sampling: a real one on toyfaces, in a folder that is removed, under Python's profiler."""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ldsmc_bench.benchmark.case import composed
from ldsmc_bench.records.store import read
from ldsmc_bench.run import run

FIXED = ("dataset=toyfaces", "wandb.mode=disabled")
SAMPLING = "restore"  # the step of a run that samples


@dataclass(frozen=True)
class Overhead:
    """Seconds of a run, of the sampling in it, and of each of the other steps of `run`, the longest first."""

    images: int
    whole: float
    sampling: float
    steps: dict[str, float]

    @property
    def share(self) -> float:
        """What is not sampling, as a share of the whole."""
        return 1 - self.sampling / self.whole


def overhead(overrides: Sequence[str] = ()) -> Overhead:
    """Of a run with these overrides of the defaults. The profiler slows Python down a little, sampling included."""
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed([*FIXED, *overrides, f"results_dir={folder}"])
        begun = time.perf_counter()
        store = profile.runcall(run, cfg)
        whole = time.perf_counter() - begun
        sampling = sum(record["cost"]["seconds"] for record in read(store))
    steps = _called_by_run(profile)
    steps[SAMPLING] = steps.get(SAMPLING, 0.0) - sampling
    return Overhead(cfg.n_images, whole, sampling, dict(sorted(steps.items(), key=lambda step: -step[1])))


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
    rest = found.whole - found.sampling
    steps = [f"{name} {seconds:.2f} s" for name, seconds in found.steps.items() if seconds > rest / 100]
    return [
        f"overhead of a run of {found.images} toyfaces: {100 * found.share:.1f} % of {found.whole:.1f} s",
        f"  of its {rest:.2f} s: {', '.join(steps)}",
    ]

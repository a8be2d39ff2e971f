"""The operators of all tasks, made as `conf/task` says, and what to apply them to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.operators import Operator

CONF = Path(__file__).parents[2] / "conf/task"
TASKS: dict[str, Callable[[int, Noise], Operator]] = {
    path.stem: instantiate(OmegaConf.load(path).operator)
    for path in sorted(CONF.glob("*.yaml"))
    if path.stem != "deepinv"  # of which the user names the operator
}
LINEAR = [name for name, task in TASKS.items() if task(32, Noise(0, ["a"], "test")).linear]
LEAST = {"sr8": 16, "sr16": 32}  # pixels of a side
MASKS = ["box", "destripe", "destripe_lines", "destripe_random", "freeform", "half", "random"]


def make(task: str, side: int, images: int = 2) -> tuple[Operator, Tensor]:
    """The task's operator in float64 and white noise to apply it to, of this side or the least that it can do."""
    side = max(side, LEAST.get(task, side))
    ids = [f"image-{number}" for number in range(images)]
    operator = TASKS[task](side, Noise(0, ids, "test")).to("cpu", torch.float64)
    return operator, white((images, 3, side, side))


def white(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))

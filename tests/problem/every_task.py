"""The operators of all tasks, made as `conf/task` says."""

from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.operators import Operator

CONF = Path(__file__).parents[2] / "conf/task"
TASKS: dict[str, Callable[[int, Noise], Operator]] = {
    path.stem: instantiate(OmegaConf.load(path).operator) for path in sorted(CONF.glob("*.yaml"))
}

"""Reading the configuration file that came with a foreign checkpoint; nothing named in it is imported."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.errors import UserError


@dataclass(frozen=True)
class ForeignConfig:
    """A YAML file; keys are dotted paths below `root`."""

    path: Path
    tree: DictConfig
    root: str = ""

    def ask(self, key: str, default: Any = None) -> Any:
        """The value of `key`. Raises UserError where the file has none and no default is given."""
        try:
            value = OmegaConf.select(self.tree, self.root + key)
        except OmegaConfBaseException as error:  # such as a reference to a key that is not there
            raise UserError(
                f"{self.path}: {self.root}{key} cannot be read; use the config published with the checkpoint"
            ) from error
        if value is None and default is None:
            raise UserError(f"{self.path}: {self.root}{key} is missing; use the config published with the checkpoint")
        return default if value is None else value

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number above zero. Raises UserError for anything else."""
        value = self.ask(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{self.path}: {self.root}{key} is {value}, but must be a whole number above zero")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above zero. Raises UserError for anything else."""
        value = self.ask(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UserError(f"{self.path}: {self.root}{key} is {value}, but must be a number above zero")
        return float(value)

    def counts(self, key: str) -> tuple[int, ...]:
        """Whole numbers above zero, as a list or separated by commas. Raises UserError for anything else."""
        value = self.ask(key)
        try:
            numbers = tuple(int(item) for item in (str(value).split(",") if isinstance(value, (str, int)) else value))
        except (TypeError, ValueError):
            numbers = ()
        if not numbers or min(numbers) < 1:
            raise UserError(f"{self.path}: {self.root}{key} is {value}, but must be whole numbers above zero")
        return numbers

    def expect(self, key: str, wanted: object, default: Any = None) -> None:
        """Raises UserError unless `key` has the one value that the loader can read."""
        value = self.ask(key, default)
        if value != wanted:
            raise UserError(f"{self.path}: {self.root}{key} is {value}, but this loader reads {wanted} only")


def read_foreign_config(path: Path, root: str = "") -> ForeignConfig:
    """Raises UserError where the file is no YAML mapping."""
    try:
        tree = OmegaConf.load(path)
    except Exception as error:  # a parser of arbitrary text may raise anything
        raise UserError(f"{path}: is not a YAML file; use the config published with the checkpoint") from error
    if not isinstance(tree, DictConfig):
        raise UserError(f"{path}: holds no settings; use the config published with the checkpoint")
    return ForeignConfig(path, tree, root)

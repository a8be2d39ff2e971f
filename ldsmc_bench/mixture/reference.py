"""Posteriors without a closed form, known by reference draws: mixtures measured by `task=phase`, `clip`, `quantise`.

`python -m ldsmc_bench draw-posterior` makes the draws; those of the tasks' defaults ship with the package.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from safetensors import safe_open
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.mixture.law import GaussianMixture, law_of, name_of
from ldsmc_bench.mixture.nonlinear import Nonlinear
from ldsmc_bench.mixture.posterior import Known, log_likelihood
from ldsmc_bench.mixture.shipped import find
from ldsmc_bench.problem.measurement import Measurement

FOLDER = "references"


@dataclass(frozen=True, eq=False)
class ReferencePosterior:
    """A posterior known by independent `draws` (m,d) of it, and by Bayes' rule from the prior's `law` and a
    `measurement` of one row, float64."""

    law: GaussianMixture
    measurement: Measurement
    draws: Tensor

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """Reference draws (n,d) at random, none of them again before all were taken."""
        rounds = -(-draws // len(self.draws))
        order = torch.cat([torch.randperm(len(self.draws), generator=generator) for _ in range(rounds)])
        return self.draws[order[:draws]]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of each entry, (d,) and (d,)."""
        return self.draws.mean(dim=0), self.draws.var(dim=0)

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) at the points x (n,d), up to a constant. That of task=quantise jumps, and has no score: its gradient
        here passes straight through the steps."""
        return self.law.log_density(x) + log_likelihood(self.measurement, x[:, :, None, None])

    def responsibilities(self, x: Tensor) -> Tensor:
        """(n,K): those of the prior, as the measurement depends on x alone."""
        return self.law.responsibilities(x)

    @cached_property
    def weights(self) -> Tensor:
        """(K,)."""
        return self.responsibilities(self.draws).mean(dim=0)


@dataclass(frozen=True)
class Problems:
    """The problems of a mixture under one nonlinear task: all that names them."""

    kind: str
    dx: int
    seed: int
    task: str
    numbers: dict[str, float]
    noise_std: float

    @property
    def file(self) -> str:
        own = [f"{name}{value:g}" for name, value in self.numbers.items()]
        parts = [self.task, *own, f"noise{self.noise_std:g}", self.kind, f"dx{self.dx}", f"seed{self.seed}"]
        return f"{'-'.join(parts)}.safetensors"

    def command(self, count: int) -> str:
        """The one that draws the references of the first problems."""
        own = {f"task.operator.{name}": value for name, value in self.numbers.items()}
        keys = {"task": self.task, **own, "task.noise_std": self.noise_std}
        keys |= {"dataset.kind": self.kind, "dataset.dx": self.dx, "seed": self.seed, "n_images": count}
        return " ".join(["python -m ldsmc_bench draw-posterior", *(f"{key}={value}" for key, value in keys.items())])


def problems_of(kind: str, dx: int, seed: int, measurement: Measurement) -> Problems:
    operator = measurement.operator
    assert isinstance(operator, Nonlinear)
    return Problems(kind, dx, seed, operator.task, operator.numbers, float(measurement.noise_std))


def reference(kind: str, dx: int, seed: int, number: int, measurement: Measurement) -> Known:
    """The posterior of a problem by its reference draws; the measurement is one row, float64. Raises UserError where
    there are none, or none of this measurement."""
    asked, name = problems_of(kind, dx, seed, measurement), name_of(number)
    for path in find(FOLDER, asked.file):
        with safe_open(path, "pt") as file:
            if f"{name}.draws" not in file.keys():  # noqa: SIM118
                continue
            kept = {key: file.get_tensor(f"{name}.{key}").double() for key in ("draws", "y", "matrix", "log_evidence")}
        for key, value in (("matrix", matrix_of(measurement)), ("y", measurement.y.flatten())):
            if value.shape != kept[key].shape or not torch.allclose(value, kept[key], atol=1e-3 * asked.noise_std):
                raise UserError(f"task={asked.task}: {name} has another {key} than its reference draws; seed and "
                                "dataset.seed must be the same, and the tasks' own generators")  # fmt: skip
        posterior = ReferencePosterior(law_of(kind, dx, seed, number), measurement, kept["draws"])
        return Known(posterior, float(kept["log_evidence"]))
    raise UserError(f"task={asked.task}: {name} has no reference draws; make them: {asked.command(number + 1)}")


def matrix_of(measurement: Measurement) -> Tensor:
    """(dy,d), of a measurement of one row."""
    operator = measurement.operator
    assert isinstance(operator, Nonlinear)
    matrix: Tensor = operator.inner.grouped()[0]
    return matrix

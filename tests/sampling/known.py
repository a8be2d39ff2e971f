"""Problems whose posterior is known, and samplers run on them many times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.mixture import MixturePrior, mixture
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.mixture import GaussianMixture, components, name_of
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.chain import Row, paper_chain
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.settings import checked
from tests.commands import configured


@dataclass(frozen=True)
class Known:
    """A problem: its number, the prior of them all, the law of its vectors, its measurement (of one row)."""

    number: int
    prior: MixturePrior
    law: GaussianMixture
    measurement: Measurement

    def posterior(self, law: GaussianMixture | None = None) -> tuple[GaussianMixture, float]:
        """Of its own law, or of another: the posterior and the log-evidence."""
        operator, y = self.measurement.operator, self.measurement.y.double().flatten()
        assert isinstance(operator, Linear)
        return (law or self.law).given(operator.matrices[0].double(), y, float(self.measurement.noise_std))

    def rows(self, steps: int) -> list[Row]:
        return list(paper_chain(self.prior.alpha_bar, steps, 1.0).rows.values())


def known(
    kind: str, number: int, *, steps: int, dx: int = 8, dy: int = 4, sigma_max: float = 100.0, noise_std: float = 1.0
) -> Known:
    """Problem `number` of seed 0, laid out for this many steps."""
    prior = mixture(kind, dx, 0, steps, 0.1, sigma_max).to(torch.device("cpu"), torch.float32)
    law, name = components(kind, dx, 0, number).law(), name_of(number)
    x = law.sample(1, torch.Generator().manual_seed(number)).reshape(1, dx, 1, 1).float()
    taken = measure(
        x,
        lambda side, noise: tasks.linear(side, noise, dy=dy, channels=dx),
        Noise(0, [name], "measurement"),
        noise_std=noise_std,
        noise_in_hole=False,
    )
    return Known(number, prior, law, taken)


def choices(**chosen: Any) -> dict[str, Any]:
    """The exact variant's arguments for LD-SMC, but for those given."""
    return checked(configured("dataset=mixture", "variant=exact")).sample | chosen


def runs(
    problem: Known, repetitions: int, sample: Callable[..., Tensor] = ldsmc.sample, seed: int = 0, **chosen: Any
) -> tuple[Tensor, Tensor, Trace]:
    """A draw of each of so many independent runs (R,d), float64, their log-evidences (R,), and all that was traced."""
    trace, name = Trace(), name_of(problem.number)
    z = sample(
        problem.prior.conditioned([problem.number] * repetitions),
        problem.measurement.select(torch.zeros(repetitions, dtype=torch.long)),
        Noise(seed, [name], "sampler", rows=repetitions),
        trace,
        **choices(**chosen),
    )
    return z.double().flatten(1), trace.values["log_evidence"][0], trace

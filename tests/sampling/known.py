"""Problems whose posterior is known, and samplers run on them many times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.mixture.law import GaussianMixture, law_of, name_of
from ldsmc_bench.mixture.prior import MixturePrior, mixture
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.linear import Linear
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.sampling import ldsmc
from ldsmc_bench.sampling.chain import Row, paper_chain
from ldsmc_bench.sampling.trace import Trace
from tests.commands import arguments


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
    law, name = law_of(kind, dx, 0, number), name_of(number)
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
    return arguments("dataset=mixture", "variant=exact") | chosen


def draw(problem: Known, repetitions: int, sample: Callable[..., Tensor], trace: Trace, seed: int = 0) -> Tensor:
    """A draw of each of so many independent runs of a sampler that has its arguments, (R,d), float64."""
    z = sample(
        problem.prior.conditioned([problem.number] * repetitions),
        problem.measurement.select(torch.zeros(repetitions, dtype=torch.long)),
        Noise(seed, [name_of(problem.number)], "sampler", rows=repetitions),
        trace,
    )
    return z.double().flatten(1)


def runs(
    problem: Known, repetitions: int, sample: Callable[..., Tensor] = ldsmc.sample, seed: int = 0, **chosen: Any
) -> tuple[Tensor, Tensor, Trace]:
    """As `draw` of LD-SMC's exact variant, with the log-evidences (R,) and all that was traced."""
    trace = Trace()
    z = draw(problem, repetitions, partial(sample, **choices(**chosen)), trace, seed)
    return z, trace.values["log_evidence"][0], trace


def chain_law(law: GaussianMixture, rows: Sequence[Row]) -> GaussianMixture:
    """The law of z_0 at the end of the chain `rows` (rising) from z_T ~ N(0, I), for a Gaussian prior, by which every
    move is affine. An exact sampler is exact for this chain, not for the law that the denoiser was learned from."""
    identity = torch.eye(law.means.shape[1], dtype=torch.float64)
    mean, covariance = torch.zeros_like(law.means[0]), identity
    for row in reversed(rows):
        # z0_hat = M z + v, Tweedie's mean of z_0 given z
        at_level = row.a * law.covariances[0] + (1 - row.a) * identity
        m = row.a**0.5 * torch.linalg.solve(at_level, law.covariances[0]).mT
        v = law.means[0] - row.a**0.5 * m @ law.means[0]
        kept = max(0.0, 1 - row.a_prev - row.sigma**2) ** 0.5 / (1 - row.a) ** 0.5
        gain = row.a_prev**0.5 - kept * row.a**0.5
        move = gain * m + kept * identity
        mean, covariance = move @ mean + gain * v, move @ covariance @ move.T + row.sigma**2 * identity
    return GaussianMixture(law.log_weights, mean[None], covariance[None])

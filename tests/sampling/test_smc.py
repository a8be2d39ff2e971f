"""The SMC loop on a model that is known: a Gaussian random walk, observed with noise at every step (Kalman)."""

from dataclasses import dataclass
from math import log, pi

import pytest
import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.sampling import smc
from ldsmc_bench.sampling.resampling import flat_indices

Y = (0.5, -1.0, 2.0, 1.0)  # y_3..y_0, each N(z_k, 0.5^2)
VARIANCE = 0.25


@dataclass
class At:
    z: Tensor


class Walk:
    """The bootstrap filter: z_3 ~ N(0, 1), z_k ~ N(z_{k+1}, 1), weighed by p(y_k|z_k)."""

    moves = len(Y) - 1

    def __init__(self, noise: Noise, images: int, particles: int) -> None:
        self.noise, self.images, self.particles = noise, images, particles

    def start(self, path: smc.Path | None) -> At:
        return At(self.draw())

    def move(self, k: int, before: At, ancestors: Tensor) -> At:
        return At(before.z[flat_indices(ancestors)] + self.draw())

    def log_weight(self, k: int, now: At) -> Tensor:
        error = (Y[self.moves - k] - now.z).reshape(self.images, self.particles)
        return -0.5 * error.square() / VARIANCE - 0.5 * log(2 * pi * VARIANCE)

    def draw(self) -> Tensor:
        return self.noise.normal("walk", (self.particles,)).double().reshape(-1, 1, 1, 1)


def kalman() -> tuple[float, float, float]:
    """log p(y), and the mean and variance of z_0 given y."""
    mean, variance, log_evidence = 0.0, 0.0, 0.0
    for y in Y:
        variance += 1
        total = variance + VARIANCE
        log_evidence += -0.5 * (y - mean) ** 2 / total - 0.5 * log(2 * pi * total)
        gain = variance / total
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
    return log_evidence, mean, variance


def run(particles: int, images: int = 2000, **options: object) -> tuple[Tensor, list[Tensor], list[smc.Step[At]]]:
    noise, steps = Noise(0, ["a"], "test", rows=images), list[smc.Step[At]]()
    settings = {"scheme": "systematic", "resample_below": 0.5, **options}
    z, log_evidences = smc.sample(Walk(noise, images, particles), noise, steps.append, **settings)  # type: ignore[arg-type]
    return z.flatten(), log_evidences, steps


@pytest.mark.parametrize("options", [{}, {"scheme": "multinomial", "resample_below": 1}, {"resample_first": False}])
def test_the_evidence_is_unbiased_and_the_draw_is_of_the_posterior(options: dict[str, object]) -> None:
    z, (log_evidence,), steps = run(100, **options)
    truth, mean, variance = kalman()
    ratio = torch.exp(log_evidence - truth)
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 2000**0.5 < 0.1
    assert abs(float(z.mean()) - mean) < 0.06 and abs(float(z.var()) / variance - 1) < 0.12
    assert [step.k for step in steps] == [2, 1, 0]
    for step in steps:
        assert step.before is not None and step.log_weights is not None
        assert torch.allclose(step.weights.log, torch.log_softmax(step.log_weights, dim=1))


@pytest.mark.parametrize("options", [{"sweeps": 15, "conditional": True}, {"islands": 20}])
def test_conditional_sweeps_and_islands_of_few_particles_near_the_posterior(options: dict[str, object]) -> None:
    _, mean, variance = kalman()
    alone, _, _ = run(2)
    z, log_evidences, _ = run(2, **options)
    assert abs(float(z.mean()) - mean) < 0.5 * abs(float(alone.mean()) - mean)
    assert abs(float(z.var()) - variance) < 0.5 * abs(float(alone.var()) - variance)
    assert len(log_evidences) == options.get("islands", 1)


def test_a_retained_path_lives_on_as_the_first_particle() -> None:
    noise = Noise(0, ["a"], "test", rows=3)
    model, path = Walk(noise, 3, 4), {k: torch.full((3, 1, 1, 1), float(k)).double() for k in range(4)}
    select = smc.adaptive(noise, "multinomial", 1, first=3, retain=True)
    seen = [step.now.z.reshape(3, 4)[:, 0] for step in smc.run(model, select, path, retain=True)]
    assert torch.equal(torch.stack(seen), torch.tensor([2.0, 1.0, 0.0]).double()[:, None].expand(3, 3))

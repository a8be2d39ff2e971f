"""What can be seen of a sampler's call beforehand."""

from functools import cache
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.config import Settings, instantiate, validate
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.tasks import box
from ldsmc_bench.progress import work
from ldsmc_bench.progress.work import Part, sketched
from ldsmc_bench.running import progress
from ldsmc_bench.sampling import fits
from ldsmc_bench.sampling.guidance import data_gradient, residual
from ldsmc_bench.sampling.trace import Trace
from tests.commands import choices, configured

SHAPE = (2, 3, 64, 64)


@cache
def settings_of(*overrides: str) -> Settings:
    return validate(configured(*overrides, "device=cpu"))


@cache
def prior_of(name: str) -> Any:
    return instantiate(settings_of(f"prior={name}").config["prior"]["load"])


def given() -> Measurement:
    x = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(SHAPE)
    noise = Noise(0, ["a", "b"], "measurement")
    return measure(x, lambda side, n: box(side, n, size=128, margin=16), noise, noise_std=0.05, noise_in_hole=False)


def theirs(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace, *, steps: int = 3) -> Tensor:
    """A user's method: it calls `trace` once a step, and has much to do afterwards."""
    z = noise.normal("z", prior.shape).to(measurement.y)
    for k in range(steps):
        z = z - prior.eps(z, torch.full((len(z),), 5))
        trace(k)
    for _ in range(7):
        z = z.detach().requires_grad_()
        z = z - data_gradient(residual(prior, measurement, z), z)
    return prior.decode(fits.latent_fit(prior, measurement, z, 500))


def of(parts: list[Part]) -> list[dict[tuple[str, int], float]]:
    return [dict(part.calls) for part in parts]


def test_all_that_a_users_method_will_do_is_seen() -> None:
    parts = sketched(theirs, prior_of("ldm_toyfaces"), given(), settings_of(), SHAPE, 3)
    *steps, after = of(parts)
    assert steps == [{("denoiser_forward", 2): 1}] * 3
    assert after == {("decoder_forward", 2): pytest.approx(508), ("decoder_backward", 2): pytest.approx(507)}
    assert all(part.other > 0 for part in parts)


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_can_be_sketched(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SECONDS", 1000)  # however busy the machine is
    settings = settings_of(f"method={method}", "task=box", "steps=4", "particles=3")
    name = settings.config["prior"]["name"]
    prior = prior_of(name)
    parts = sketched(instantiate(settings.config["method"]["sample"]), prior, given(), settings, SHAPE, 4)
    assert len(parts) == 5  # the steps, and what follows them
    kinds = {kind for part in parts for kind, _ in part.calls}
    assert kinds >= {"denoiser_forward", *(["decoder_forward"] if name == "ldm_toyfaces" else [])}


def test_a_sketch_is_silent_and_what_fails_in_it_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def failing(prior: Any, *_: Any) -> Tensor:
        print("loud")
        return prior.prior.unet.weight

    def failing_later(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
        prior.eps(noise.normal("z", prior.shape), torch.zeros(2))
        raise RuntimeError

    for sample in (failing, failing_later):
        assert sketched(sample, prior_of("ldm_toyfaces"), given(), settings_of(), SHAPE, 3) == []
    assert capfd.readouterr() == ("", "")


def test_a_sketch_that_takes_too_long_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(prior: Prior, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
        z = noise.normal("z", prior.shape)
        while True:
            try:
                prior.eps(z, torch.zeros(2))
            except Exception:
                continue
            trace(0)

    monkeypatch.setattr(progress, "clock", count().__next__)  # a second each time that it is asked
    monkeypatch.setattr(work, "SECONDS", 10)
    parts = sketched(endless, prior_of("ldm_toyfaces"), given(), settings_of(), SHAPE, 1000)
    assert of(parts) == [{("denoiser_forward", 2): 1}] * 1000


def test_a_real_fit_is_not_shortened_afterwards() -> None:
    sketched(theirs, prior_of("ldm_toyfaces"), given(), settings_of(), SHAPE, 3)
    assert list(fits.ITERATIONS.get()(5)) == [0, 1, 2, 3, 4]

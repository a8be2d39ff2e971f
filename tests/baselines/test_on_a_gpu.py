"""Every method on a GPU that is not there: its tensors have shapes and a device, but no values. What meets on two
devices fails, and whatever would wait for the device is told."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ldsmc_bench.config import compose, instantiate, problem_of, validate
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.schedule import scaled_linear
from ldsmc_bench.problem.problem import measure_batch
from ldsmc_bench.running.prediction_error import CalibratedPrior
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.speed.setup import MADE_UP
from ldsmc_bench.toyfaces import priors
from ldsmc_bench.toyfaces.dataset import toyfaces

pytestmark = pytest.mark.slow
GPU = torch.device("cuda", 0)
ROOT = str(Path(__file__).parents[2]) + os.sep
ANSWERS = {torch.bool: True, torch.int64: 0}  # what a question to the device is told: go on, and the smallest number
IDS = ["a", "b"]


class Watch(TorchDispatchMode):
    """Computes on the CPU what lies there, and only shapes of what lies on the GPU. `waits` has, for each time that the
    host waits for the GPU, the number of ticks before and the function of this repository that makes it wait."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.waits: list[tuple[int, str]] = []

    def tick(self) -> None:
        self.ticks += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        if name == "aten::_local_scalar_dense" and args[0].device == GPU:
            self._note()
            return ANSWERS.get(args[0].dtype, 0.5)
        if name in ("aten::nonzero", "aten::equal") and args[0].device == GPU:
            self._note()
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(one, FakeTensor) or (isinstance(one, torch.device) and one == GPU) for one in leaves):
            out = func(*args, **kwargs)
        else:
            with unset_fake_temporarily():
                out = func(*args, **kwargs)
        if name in ("aten::_to_copy", "aten::copy_"):
            source, asynchronous = (args[1], args[2:3] == (True,)) if name == "aten::copy_" else (args[0], False)
            if source.device != out.device and not (asynchronous or kwargs.get("non_blocking")):
                self._note()
        return out

    def _note(self) -> None:
        frame: Any = sys._getframe(2)
        while not frame.f_code.co_filename.startswith(ROOT) or "site-packages" in frame.f_code.co_filename:
            frame = frame.f_back
        self.waits.append((self.ticks, frame.f_code.co_name))


@contextmanager
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """The backward pass and locked memory need a real one: gradients are zeros, and no memory is locked."""

    def zeros(_: Any, inputs: Any, *__: Any, **___: Any) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(one) for one in ([inputs] if isinstance(inputs, Tensor) else inputs))

    monkeypatch.setattr(torch.autograd, "grad", zeros)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        yield watch


def waits(sample: Callable[..., Tensor], prior: Any, task: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the host waits for the GPU between the first and the last tick of a sampler."""
    settings = validate(compose("device=cpu", *task.split()))
    x = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1
    measurement = measure_batch(problem_of(settings, toyfaces()), x, Noise(0, IDS, "measurement"))
    prior = deepcopy(prior)  # networks move in place
    with gpu(monkeypatch) as watch:
        trace = Trace(("ess", "log_weights", "spread"), tick=watch.tick)
        noise = Noise(0, IDS, "sampler", device=GPU)
        out = sample(CallCounter(prior.to(GPU, torch.float32)), measurement.to(GPU, torch.float32), noise, trace)
    assert out.device == GPU and out.shape == (2, 3, 64, 64)
    return [where for ticks, where in watch.waits if 0 < ticks < watch.ticks]


@dataclass(frozen=True)
class Tiny:
    """A latent prior whose networks are a convolution: what is watched lies between them."""

    conv: nn.Module = field(default_factory=lambda: nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False))
    shape: tuple[int, int, int] = (3, 16, 16)
    image_size: int = 64
    factor: int = 4  # of the sides of an image and a latent
    digest: str = "tiny"
    alpha_bar: Tensor = field(default_factory=scaled_linear)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Tiny":
        return replace(self, conv=self.conv.to(device, dtype))

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.conv(z)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(x, self.factor))

    def decode(self, z: Tensor) -> Tensor:
        return self.conv(z.repeat_interleave(self.factor, dim=2).repeat_interleave(self.factor, dim=3))


PIXELS = Tiny(shape=(3, 64, 64), factor=1)


@pytest.mark.parametrize(
    ("chosen", "allowed"),
    [
        ("method=ldsmc task=freeform particles=1", set()),
        ("method=ldsmc task=freeform", {"unique_ancestors"}),  # which particles live on decides what is computed
        (
            "method=ldsmc task=gaussian_deblur variant=paper method.sample.islands=2",
            {"unique_ancestors", "_descend"},
        ),
        ("method=ldsmc task=box variant=exact", {"unique_ancestors"}),
        (
            "method=ldsmc task=sr4 variant=exact method.sample.twist=ray method.sample.defensive=0.1",
            {"unique_ancestors"},
        ),
        ("method=ldsmc task=box variant=paper method.sample.gibbs_iterations=2", {"unique_ancestors"}),
        ("method=ltds task=motion_deblur", {"unique_ancestors"}),
        ("method=pfld task=denoise task.noise=poisson", set()),
        ("method=psld task=sr4", set()),
        ("method=psld task=motion_deblur", {"_descend"}),  # conjugate gradients ask at times whether they are done
        ("method=psld task=destripe", set()),
        ("method=resample task=sr8", {"adamw_descent"}),  # and so do fits
        ("method=latent_dps task=phase_retrieval", set()),
        ("method=latent_daps task=colorize", set()),
        ("method=dps task=box", set()),
    ],
)
def test_no_method_mixes_devices_or_waits(chosen: str, allowed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = validate(compose("device=cpu", "steps=4", *chosen.split()))
    prior = CalibratedPrior(PIXELS if settings.labels.method == "dps" else Tiny(), MADE_UP)
    task = " ".join(one for one in chosen.split() if one.startswith("task"))
    found = waits(instantiate(settings.config["method"]["sample"]), prior, task, monkeypatch)
    assert set(found) <= allowed
    assert found.count("unique_ancestors") <= 2 * 4 * settings.sample.get("islands", 1)


@torch.no_grad()
def uses_networks(prior: Any, measurement: Any, noise: Noise, trace: Trace) -> Tensor:
    """Every network once."""
    trace(1)
    z = prior.encode(measurement.y)
    x = prior.decode(z + prior.eps(z, torch.full((len(z),), 500, device=z.device)))
    trace(0)
    return x


@pytest.mark.parametrize("prior", [priors.latent, priors.pixel])
def test_networks_do_not_wait(prior: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(uses_networks, prior(), "task=box", monkeypatch) == []


@torch.no_grad()
def asks(prior: Any, measurement: Any, noise: Noise, trace: Trace) -> Tensor:
    z = noise.normal("z", prior.shape)
    for k in reversed(range(3)):
        z = z / float(z.norm())
        trace(k)
    return prior.decode(z)


@torch.no_grad()
def mixes(prior: Any, measurement: Any, noise: Noise, trace: Trace) -> Tensor:
    return prior.decode(noise.normal("z", prior.shape) + torch.randn(prior.shape))


def test_who_waits_is_found_and_mixed_devices_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(asks, Tiny(), "task=box", monkeypatch) == ["asks", "asks"]
    with pytest.raises(RuntimeError, match="device"):
        waits(mixes, Tiny(), "task=box", monkeypatch)

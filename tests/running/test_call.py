"""What a sampler is given, may do and must return."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ldsmc_bench.config import Settings, problem_of, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.prior.pixel import PixelPrior
from ldsmc_bench.prior.schedule import linear
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.problem import Batch, measure_batch, to_uint8
from ldsmc_bench.running.call import call_sampler
from ldsmc_bench.running.progress import Progress, Stop
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import choice, choices, configured
from tests.running.leaks import HELD, LEFT

SIDE = 32
PRIOR = PixelPrior(torch.nn.Identity(), linear(), SIDE, "digest")


@cache
def settings_of(task: str) -> Settings:
    cfg = configured("method=latent_dps", "device=cpu")
    cfg.task = choice("task", task)
    return validate(cfg)


def posed(settings: Settings) -> Batch:
    """Two pictures, made and measured anew, as a run does it."""
    ramp = torch.linspace(-1, 1, 2 * 3 * SIDE * SIDE, dtype=torch.float32).reshape(2, 3, SIDE, SIDE)
    return Batch(
        (Draw("a"), Draw("b")),
        to_uint8(ramp),
        measure_batch(problem_of(settings, toyfaces()), ramp, Noise(0, ["a", "b"], "measurement")),
        {},
    )


def restored(
    sample: Callable[..., Any],
    given: Measurement | None,
    settings: Settings,
    trace: Trace | None = None,
    prior: Prior = PRIOR,
) -> Tensor:
    assert given is not None
    noise = Noise(0, ["a", "b"], "sampler")
    return call_sampler(
        sample, prior, given, noise, trace or Trace(), settings, (2, 3, SIDE, SIDE), Progress(settings)
    )[0]


def drawing(prior: Any, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
    """Hangs on the dtype, the device and the generators that are torch's own."""
    x = torch.linspace(0, 1, SIDE) + torch.rand(2, 3, SIDE, SIDE) + noise.normal("z", (3, SIDE, SIDE))
    return x + float(np.random.rand()) + prior.alpha_bar[0] + measurement.y.mean()


@pytest.mark.parametrize("what", LEFT)
def test_the_next_batch_is_as_it_is_alone(what: str) -> None:
    def leaking(prior: Any, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
        LEFT[what]()
        return torch.zeros(2, 3, SIDE, SIDE, device="cpu")

    settings = settings_of("denoise")
    before = posed(settings)
    alone = restored(drawing, before.measurement, settings)
    restored(leaking, before.measurement, settings)
    HELD.clear()
    after = posed(settings)
    assert before.measurement and after.measurement
    assert torch.equal(after.measurement.y, before.measurement.y)
    assert after.measurement.y.dtype == torch.float32
    assert torch.equal(restored(drawing, after.measurement, settings), alone)


@pytest.mark.parametrize("seed", [0, 1])
def test_global_draws_follow_seed_and_images(seed: int) -> None:
    settings = settings_of("denoise")

    def drawn(*ids: str) -> Tensor:
        given = posed(settings).measurement
        assert given is not None
        noise = Noise(seed, ids, "sampler")
        return call_sampler(
            lambda *_: torch.rand(2, 3, SIDE, SIDE),
            PRIOR,
            given,
            noise,
            Trace(),
            settings,
            (2, 3, SIDE, SIDE),
            Progress(settings),
        )[0]

    assert torch.equal(drawn("a", "b"), drawn("a", "b"))
    assert not torch.equal(drawn("a", "b"), drawn("c", "d"))


def spoilt(thing: Any, seen: set[int]) -> int:
    """Write to every tensor that `thing` leads to; how many there are."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        thing.zero_()
        return 1
    parts = thing.values() if isinstance(thing, dict) else getattr(thing, "__dict__", {}).values()
    return sum(spoilt(part, seen) for part in list(parts))


@pytest.mark.parametrize("task", [task for task in choices("task") if task != "linear"])
def test_a_sampler_may_write_to_all_that_it_is_given(task: str) -> None:
    settings = settings_of(task)
    given = posed(settings).measurement
    assert given is not None
    x = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    y, measured_x, alpha_bar = given.y.clone(), given.operator(x), PRIOR.alpha_bar.clone()

    def spoiling(prior: Any, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
        measurement.operator(x)  # which fills its tables, where it has any
        assert spoilt(measurement, set()) >= 1
        prior.alpha_bar.zero_()
        assert prior.alpha_bar[0] == 0
        return torch.zeros(2, 3, SIDE, SIDE)

    restored(spoiling, given, settings)
    assert torch.equal(given.y, y) and torch.equal(given.operator(x), measured_x)
    assert torch.equal(PRIOR.alpha_bar, alpha_bar)


class Network(torch.nn.Conv2d):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(x)


def halve(network: torch.nn.Module) -> object:
    with torch.no_grad():
        return next(network.parameters()).mul_(0.5)


@pytest.mark.parametrize("change", [halve, torch.nn.Module.double, torch.nn.Module.train])
def test_a_changed_network_is_noticed(change: Callable[[torch.nn.Module], object]) -> None:
    prior = PixelPrior(Network(3, 3, 1).eval(), linear(), SIDE, "digest")

    def changing(given: Any, *_: Any) -> Tensor:
        change(given.prior.unet)
        return torch.zeros(2, 3, SIDE, SIDE)

    def differentiating(given: Any, *_: Any) -> Tensor:
        given.prior.unet.requires_grad_(False).eval()
        z = torch.zeros(2, 3, SIDE, SIDE, requires_grad=True)
        given.decode(given.eps(z, torch.zeros(2))).sum().backward()
        return z.grad

    settings = settings_of("denoise")
    restored(differentiating, posed(settings).measurement, settings, prior=prior)
    with pytest.raises(UserError, match="changed the prior's networks in place"):
        restored(changing, posed(settings).measurement, settings, prior=prior)


def test_an_answer_or_a_trace_that_is_written_to_later_stays() -> None:
    kept, trace = torch.zeros(2, 3, SIDE, SIDE), Trace(["ess"])

    def sample(prior: Any, measurement: Measurement, noise: Noise, trace: Trace) -> Tensor:
        ess = torch.ones(2)
        trace(0, ess=ess)
        ess.zero_()
        return kept

    settings = settings_of("denoise")
    x = restored(sample, posed(settings).measurement, settings, trace)
    kept.fill_(1)
    assert not x.any() and trace.per_image() == [{"ess": [1]}, {"ess": [1]}]


WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, "it returned None"),
    "array": (np.zeros((2, 3, SIDE, SIDE)), "it returned numpy.ndarray of shape (2, 3, 32, 32)"),
    "list": ([1.0], "it returned builtins.list"),
    "rows": (torch.zeros(1, 3, SIDE, SIDE), "it returned torch.float32 of shape (1, 3, 32, 32)"),
    "side": (torch.zeros(2, 3, 8, 8), "it returned torch.float32 of shape (2, 3, 8, 8)"),
    "grey": (torch.zeros(2, 1, SIDE, SIDE), "it returned torch.float32 of shape (2, 1, 32, 32)"),
    "flat": (torch.zeros(2, 3, SIDE * SIDE), "it returned torch.float32 of shape (2, 3, 1024)"),
    "bytes": (torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8), "it returned torch.uint8 of shape (2, 3, 32, 32)"),
    "sparse": (torch.zeros(2, 3, SIDE, SIDE).to_sparse(), "it returned sparse torch.float32 of shape (2, 3, 32, 32)"),
    "complex": (torch.zeros(2, 3, SIDE, SIDE, dtype=torch.complex64), "it returned torch.complex64"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_answer_is_refused_in_a_line(kind: str) -> None:
    answer, said = WRONG[kind]
    settings = settings_of("denoise")
    with pytest.raises(UserError) as error:
        restored(lambda *_: answer, posed(settings).measurement, settings)
    line = str(error.value)
    assert line.startswith("method.sample._target_=baselines.dps.sample: must return a torch.Tensor")
    assert "of shape (2, 3, 32, 32)" in line and said in line and "\n" not in line


def test_a_sampler_that_exits_is_a_line_and_a_signal_still_ends_the_run() -> None:
    settings = settings_of("denoise")

    def ending(error: BaseException) -> Any:
        def sample(*_: Any) -> Tensor:
            raise error

        return sample

    with pytest.raises(UserError, match=r"^method\.sample\._target_=baselines\.dps\.sample: called sys\.exit\(3\)"):
        restored(ending(SystemExit(3)), posed(settings).measurement, settings)
    with pytest.raises(Stop):
        restored(ending(Stop(143)), posed(settings).measurement, settings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_floating_numbers_will_do_finite_or_not(dtype: torch.dtype) -> None:
    answer = torch.full((2, 3, SIDE, SIDE), math.nan, dtype=dtype, requires_grad=True)
    settings = settings_of("denoise")
    x = restored(lambda *_: answer, posed(settings).measurement, settings)
    assert x.dtype == torch.float32 and x.isnan().all() and not x.requires_grad


def test_a_module_that_changes_the_process_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_sampler.py").write_text(
        "import torch\ntorch.set_default_dtype(torch.float64)\n"
        "def sample(prior, measurement, noise, trace, *, steps: int):\n    pass\n"
    )
    target = "method.sample={_target_:their_sampler.sample,_partial_:true,steps:1}"
    validate(configured("~method.sample", f"+{target}", "method.name=theirs"))
    assert torch.get_default_dtype() == torch.float32

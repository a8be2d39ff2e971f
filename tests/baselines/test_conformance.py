"""What every method must do, a newcomer's too: `pytest tests/baselines --method NAME`."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import Unsupported
from ldsmc_bench.noise import Noise
from ldsmc_bench.pose import pixels, pose
from ldsmc_bench.prior import compvis_vq, schedule
from ldsmc_bench.prior.counting import Counted
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.prior.latent import LatentPrior
from ldsmc_bench.prior.pixel import PixelPrior
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.scoring.features import load_features
from ldsmc_bench.scoring.perceptual import perceptual_distance
from ldsmc_bench.settings import Settings, checked, made
from tests.commands import choices

IDS = ("a", "b", "c")
SIDE = 32
TASKS = ("box", "sr4")  # one with a hole, one with another size; the others differ in their operator only
STEPS = 3
TUNED = 25  # what conf/tuned/toyfaces is tuned for


@dataclass(frozen=True)
class Subject:
    """A method with what it is given: settings, its function, a prior."""

    settings: Settings
    sample: Callable[..., Tensor]
    prior: Prior


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, method: str) -> Callable[..., Subject]:
    """The method by its task and number of steps, on a small random prior of its own space in float64."""
    folder = request.config.getoption("--config-dir", default=None)

    def made_for(task: str = "box", steps: int = STEPS) -> Subject:
        settings = configured(method, folder, f"task={task}", f"steps={steps}", "particles=2")
        prior = random_pixel_prior() if "pixel" in settings.config["prior"]["name"] else random_latent_prior()
        return Subject(settings, made(settings.config["method"]["sample"]), prior)

    return cache(made_for)


def configured(method: str, folder: str | None, *overrides: str) -> Settings:
    elsewhere = [f"hydra.searchpath=[file://{Path(folder).resolve()}]"] if folder else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", [f"method={method}", *overrides, *elsewhere]))


@cache
def random_latent_prior() -> LatentPrior:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vq = compvis_vq.build(compvis_vq.VqShape(32, (1, 1, 2), res_blocks=1, z_channels=3, codes=64, code_channels=3))
        unet = UNet2DModel(
            sample_size=SIDE // 4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 32),
            layers_per_block=1,
        )
        codebook = torch.randn(64, 3, dtype=torch.float64)
    prior = LatentPrior(
        unet=unet.eval().requires_grad_(False),
        vq=vq.eval().requires_grad_(False),
        codebook=codebook,
        alpha_bar=schedule.scaled_linear(),
        scale=1.0,
        shape=(3, SIDE // 4, SIDE // 4),
        image_size=SIDE,
        digest="random",
    )
    return prior.to(torch.device("cpu"), torch.float64)


@cache
def random_pixel_prior() -> PixelPrior:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=SIDE,
            out_channels=6,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 32),
            layers_per_block=1,
        )
    unet = unet.eval().requires_grad_(False)
    prior = PixelPrior(unet=unet, alpha_bar=schedule.linear(), image_size=SIDE, digest="random")
    return prior.to(torch.device("cpu"), torch.float64)


@cache
def _measured(task: str, ids: Sequence[str]) -> Measurement:
    """Blots instead of faces, small enough for a random prior."""
    settings = configured("ldsmc", None, f"task={task}")
    noise = Noise(0, ids, "picture")
    coarse = noise.normal("blots", (3, 4, 4)).tanh()
    x = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(-1, 1)
    measurement = measure(
        x,
        made(settings.config["task"]["operator"]),
        Noise(0, ids, task),
        noise_std=settings.config["task"]["noise_std"],
        noise_in_hole=False,
    )
    return measurement.to("cpu", torch.float64)


def restored(subject: Subject, ids: Sequence[str] = IDS, seed: int = 0, trace: Trace | None = None) -> Tensor:
    measurement = _measured(subject.settings.config["task"]["name"], tuple(ids))
    return subject.sample(subject.prior, measurement, Noise(seed, ids, "sampler"), trace or Trace())


@pytest.fixture(scope="module")
def whole(subject: Callable[..., Subject]) -> Callable[[str], Tensor]:
    """The three images at once: what the other runs are compared with."""
    return cache(lambda task: restored(subject(task)))


@pytest.mark.parametrize("task", choices("task"))
def test_it_does_every_task_or_says_in_one_line_why_not(subject: Callable[..., Subject], task: str) -> None:
    one = subject(task, 2)
    try:
        x = restored(one, IDS[:1])
    except Unsupported as error:
        assert one.settings.config["method"]["name"] in str(error) and "\n" not in str(error)
        return
    assert x.shape == (1, 3, one.prior.image_size, one.prior.image_size)
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_noise_makes_the_same_images_and_other_noise_others(
    subject: Callable[..., Subject], whole: Callable[[str], Tensor], task: str
) -> None:
    assert torch.equal(restored(subject(task)), whole(task))
    assert not torch.allclose(restored(subject(task), seed=1), whole(task))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("batches", [[(0,), (1,), (2,)], [(2, 0), (1,)], [(2, 1, 0)]], ids=["alone", "shards", "order"])
def test_batch_size_shard_and_order_change_nothing(
    subject: Callable[..., Subject], whole: Callable[[str], Tensor], task: str, batches: list[tuple[int, ...]]
) -> None:
    for rows in batches:
        x = restored(subject(task), [IDS[row] for row in rows])
        assert torch.allclose(x, whole(task)[list(rows)], atol=1e-6, rtol=0)


def test_it_takes_as_many_steps_as_it_is_told(subject: Callable[..., Subject]) -> None:
    ticks: Counter[int] = Counter()
    calls = {}
    for steps in (2, 7):
        one = subject("box", steps)
        counted = Counted(one.prior)
        trace = Trace(tick=lambda steps=steps: ticks.update([steps]))  # type: ignore[misc]
        one.sample(counted, _measured("box", IDS[:1]), Noise(0, IDS[:1], "sampler"), trace)
        calls[steps] = counted.calls["denoiser_forward"]
    assert ticks == {2: 2, 7: 7}
    assert calls[7] > calls[2] > 0


def test_its_cost_is_counted_truly(subject: Callable[..., Subject]) -> None:
    """Against hooks on the networks themselves."""
    one = subject()
    counted, seen = Counted(one.prior), Counter[str]()
    with watched(one.prior, seen):
        one.sample(counted, _measured("box", IDS), Noise(0, IDS, "sampler"), Trace())
    assert {name: calls for name, calls in counted.calls.items() if calls} == dict(seen)


class watched:
    """Rows through each network of a prior, forward and backward, while the context lasts."""

    def __init__(self, prior: Any, seen: Counter[str]) -> None:
        parts = {"denoiser": prior.unet}
        if hasattr(prior, "vq"):
            parts |= {"encoder": prior.vq.encoder, "decoder": prior.vq.decoder}
        self.seen = seen
        self.hooks = [part.register_forward_hook(partial(self.passed, name)) for name, part in parts.items()]

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def passed(self, name: str, network: nn.Module, inputs: Any, output: Any) -> None:
        out = output if isinstance(output, Tensor) else output[0]
        self.seen[f"{name}_forward"] += len(out)
        if out.requires_grad:
            rows = len(out)
            out.register_hook(lambda _: self.seen.update({f"{name}_backward": rows}))


def test_gradients_reach_nothing_but_what_it_moves(subject: Callable[..., Subject]) -> None:
    one = subject()
    measurement = _measured("box", IDS[:1])
    y = measurement.y.clone()
    x = restored(one, IDS[:1])
    assert not x.requires_grad and not measurement.y.requires_grad and torch.equal(measurement.y, y)
    networks = [value for value in vars(one.prior).values() if isinstance(value, nn.Module)]
    assert networks and all(
        p.grad is None and not p.requires_grad for network in networks for p in network.parameters()
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["box", "freeform", "gaussian_deblur", "sr4"])
def test_it_beats_the_pseudo_inverse(subject: Callable[..., Subject], task: str) -> None:
    """In the perceptual distance, on eight faces."""
    settings = subject(task, TUNED).settings
    dataset, prior = (made(settings.config[part]["load"]) for part in ("dataset", "prior"))
    posed = pose(settings, dataset, dataset.ids[:8])
    assert posed.measurement is not None
    x = subject(task, TUNED).sample(prior, posed.measurement, Noise(0, posed.ids, "sampler"), Trace())
    network, truths = load_features(), posed.truths / 255
    ours, plain = (
        perceptual_distance(network, pixels(image) / 255, truths).mean() for image in (x, naive(posed.measurement))
    )
    assert ours < plain


def naive(measurement: Measurement) -> Tensor:
    """The pseudo-inverse (regularised by the noise), its hole filled with the mean of what is seen."""
    x = measurement.operator.pinv(measurement.y, measurement.noise_std**2)  # type: ignore[attr-defined]
    observed = measurement.operator.observed()
    if observed is None:
        return x
    mean = x.sum(dim=(2, 3), keepdim=True) / observed.sum(dim=(2, 3), keepdim=True)
    return x + (1 - observed) * mean

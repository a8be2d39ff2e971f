"""A measurement depends on its image, its id, the task and the seed, and on nothing else."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
import torch
from every_task import MASKS, TASKS
from numpy.testing import assert_allclose
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem import tasks
from ldsmc_bench.problem.measurement import NOISES, OF_BRIGHTNESS, Measurement, measure
from ldsmc_bench.problem.operators import Operator

IDS = [f"image-{number}" for number in range(7)]


def images(ids: Sequence[str]) -> Tensor:
    """An image for each id, the same wherever the id stands."""
    drawn = [np.random.default_rng(IDS.index(name)).uniform(-1, 1, (3, 64, 64)) for name in ids]
    return torch.from_numpy(np.stack(drawn)).float()


def measured(task: Callable[[int, Noise], Operator], ids: Sequence[str], **options: object) -> Measurement:
    settings = {"noise_std": 0.1, "noise_in_hole": False} | options
    return measure(images(ids), task, Noise(0, ids, "test"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "kind"),
    [pair for pair in product(TASKS, NOISES) if pair[0] != "phase_retrieval" or pair[1] not in OF_BRIGHTNESS],
)
def test_bit_identical_under_batch_size_shard_and_order(task: str, kind: str) -> None:
    def y(ids: Sequence[str]) -> Tensor:
        return measured(TASKS[task], ids, kind=kind).y

    whole = y(IDS)
    alone = torch.cat([y([name]) for name in IDS])
    shards: dict[str, Tensor] = {}
    for shard in (IDS[0::3], IDS[1::3], IDS[2::3]):
        shards.update(zip(shard, y(shard), strict=True))
    backwards = y(IDS[::-1]).flip(0)
    assert torch.equal(whole, alone)
    assert torch.equal(whole, torch.stack([shards[name] for name in IDS]))
    assert torch.equal(whole, backwards)


def test_memory_layout_does_not_matter() -> None:
    x = images(IDS)
    turned = x.to(memory_format=torch.channels_last)
    first, second = (
        measure(values, TASKS["gaussian_deblur"], Noise(0, IDS, "test"), noise_std=0.1, noise_in_hole=False).y
        for values in (x, turned)
    )
    assert torch.equal(first, second)


# But for those that take a few numbers; the level of linear is drawn: test_linear.py
@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("linear", "phase", "clip", "quantise")])
def test_y_is_the_operator_plus_noise_of_the_given_size(name: str) -> None:
    task = TASKS[name]
    clean = measured(task, IDS, noise_std=0).y
    noisy = measured(task, IDS, noise_std=0.1, noise_in_hole=True)
    double = measured(task, IDS, noise_std=0.2, noise_in_hole=True).y
    torch.testing.assert_close(clean, noisy.operator(images(IDS)), atol=1e-5, rtol=0)
    error = noisy.y - clean
    assert abs(float(error.std()) / 0.1 - 1) < 0.05 and abs(float(error.mean())) < 0.01
    torch.testing.assert_close(double - clean, 2 * error, atol=1e-5, rtol=0)
    assert noisy.noise_std == 0.1


def test_other_seed_or_stream_other_noise() -> None:
    x = images(IDS[:1])
    drawn = [
        measure(x, tasks.denoise, Noise(seed, IDS[:1], stream), noise_std=0.1, noise_in_hole=False).y
        for seed, stream in [(0, "test"), (1, "test"), (0, "other")]
    ]
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("task", MASKS)
def test_noise_stays_out_of_the_hole_unless_asked(task: str) -> None:
    outside = measured(TASKS[task], IDS)
    everywhere = measured(TASKS[task], IDS, noise_in_hole=True)
    observed = outside.operator.observed()
    assert observed is not None
    hole = (observed == 0).expand_as(outside.y)
    assert (outside.y[hole] == 0).all()
    assert abs(float(everywhere.y[hole].std()) / 0.1 - 1) < 0.05
    assert torch.equal(outside.y[~hole], everywhere.y[~hole])


@pytest.mark.parametrize("rate", [1, 4])
def test_poisson_noise_is_that_of_counted_photons(rate: int) -> None:
    """At brightness p, 255 rate p photons are counted: their variance is their mean."""
    levels = torch.tensor([-1.0, -0.6, 0.0, 0.5]).reshape(4, 1, 1, 1).expand(4, 3, 128, 128)
    noise, photons = Noise(0, IDS[:4], "test"), {"kind": "poisson", "poisson_rate": rate}
    taken = measure(levels, tasks.denoise, noise, noise_std=9, noise_in_hole=False, **photons)  # type: ignore[arg-type]
    counts = (taken.y.double() + 1) / 2 * 255 * rate
    assert_allclose(counts, counts.round(), atol=1e-3)
    expected = 255 * rate * (levels[:, 0, 0, 0].double() + 1) / 2
    assert_allclose(counts.mean((1, 2, 3)), expected, rtol=0.01)
    assert_allclose(counts.var((1, 2, 3)), expected, rtol=0.05)
    assert_allclose(taken.noise_std, taken.y[2].std(), rtol=0.03)  # what samplers are told is the level of mid-grey


def test_poisson_noise_is_clipped_and_stays_out_of_the_hole() -> None:
    white = torch.ones(1, 3, 64, 64)
    kept = measured(TASKS["half"], IDS[:1], kind="poisson").y
    assert (kept[..., 32:] == 0).all() and kept[..., :32].std() > 0.1
    everywhere = measured(TASKS["half"], IDS[:1], kind="poisson", noise_in_hole=True).y
    assert everywhere[..., 32:].std() > 0.05  # a hole is mid-grey, and noisy like it
    noise = Noise(0, IDS[:1], "test")
    bright = measure(3 * white, tasks.denoise, noise, noise_std=0, noise_in_hole=False, kind="poisson").y
    assert bright.max() == 1 and 0.3 < float((bright == 1).float().mean()) < 0.7


def test_magnitudes_are_no_brightness() -> None:
    with pytest.raises(UserError, match=r"^task\.noise=poisson: this task does not"):
        measured(TASKS["phase_retrieval"], IDS[:1], kind="poisson")


def test_select_and_to() -> None:
    whole = measured(TASKS["motion_deblur"], IDS)
    index = torch.tensor([3, 3, 1])
    part = whole.select(index).to("cpu", torch.float64)
    assert part.y.dtype == torch.float64 and torch.equal(part.y.float(), whole.y[index])
    x = images(IDS).double()
    exact = whole.to("cpu", torch.float64).operator(x)[index]
    torch.testing.assert_close(part.operator(x[index]), exact, atol=1e-12, rtol=0)


@pytest.mark.parametrize("level", [0.1, 0.6])
def test_uniform_noise_has_its_level_and_ends(level: float) -> None:
    error = measured(tasks.denoise, IDS, noise_std=level, kind="uniform").y - images(IDS)
    assert_allclose(error.std(), level, rtol=0.02)
    assert abs(float(error.mean())) < 0.01
    assert_allclose([error.min(), error.max()], [-(3**0.5) * level, 3**0.5 * level], rtol=0.01)


def test_salt_and_pepper_hits_a_share_of_the_entries_and_leaves_the_others() -> None:
    y = measured(tasks.denoise, IDS, noise_std=0.3, kind="salt_and_pepper").y
    hit = y != images(IDS)
    assert_allclose(hit.float().mean(), 0.09, rtol=0.03)
    assert_allclose(y[hit].abs(), 1.0, atol=1e-6)
    assert abs(float(y[hit].mean())) < 0.05
    with pytest.raises(UserError, match=r"task\.noise_std=1\.5"):
        measured(tasks.denoise, IDS, noise_std=1.5, kind="salt_and_pepper")

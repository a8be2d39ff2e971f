"""Masks and kernels: counts, places and, for the free-form masks, the distribution of the reference's holes."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter, label
from scipy.stats import ks_2samp

from ldsmc_bench.problem import kernels, masks

RNG = np.random.default_rng(0)  # of masks that draw nothing
FIXTURE = Path(__file__).parents[1] / "fixtures/operators/operators_seed0.safetensors"


def unpacked(name: str) -> np.ndarray:
    """Recorded masks (16,256,256), 1 = observed, which are kept as bits."""
    return np.unpackbits(load_file(FIXTURE)[name], axis=-1)


def draw(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Free-form masks with the numbers of LD-SMC."""
    return np.stack(
        [
            masks.freeform(
                np.random.default_rng((seed, number)),
                side,
                strokes=(1, 3),
                segments=(16, 32),
                length=(10, 40),
                width=(20, 21),
                covered=(0.05, 0.5),
            )
            for number in range(count)
        ]
    )


@pytest.mark.parametrize(("side", "hole", "first", "last"), [(256, 128, 16, 111), (64, 32, 4, 27)])
def test_box_size_and_places(side: int, hole: int, first: int, last: int) -> None:
    corners = set()
    for seed in range(400):
        mask = masks.box(np.random.default_rng(seed), side, size=128, margin=16)
        rows, columns = np.nonzero(~mask.all(axis=1))[0], np.nonzero(~mask.all(axis=0))[0]
        assert (~mask).sum() == hole * hole == len(rows) * len(columns)
        corners |= {int(rows[0]), int(columns[0])}
    assert min(corners) == first and max(corners) == last


@pytest.mark.parametrize("side", [64, 256])
def test_box_places_are_those_of_the_reference(side: int) -> None:
    recorded = unpacked("box_masks")
    assert ((1 - recorded.astype(int)).sum((1, 2)) == 128 * 128).all()
    tops = np.array([np.nonzero(~(mask > 0).all(axis=1))[0][0] for mask in recorded]) / 256
    drawn = [masks.box(np.random.default_rng(seed), side, size=128, margin=16) for seed in range(400)]
    own = np.array([np.nonzero(~mask.all(axis=1))[0][0] for mask in drawn]) / side
    assert ks_2samp(tops, own).pvalue > 0.01


def test_random_mask_counts_exactly() -> None:
    for side in (64, 100, 256):
        mask = masks.random(np.random.default_rng(side), side, missing=0.7)
        assert (~mask).sum() == int(side * side * 0.7)
    often = np.mean([masks.random(np.random.default_rng(seed), 16, missing=0.7) for seed in range(2000)], axis=0)
    assert np.abs(often - 77 / 256).max() < 0.06  # every pixel alike: 256 - int(179.2) = 77 are kept


@pytest.mark.parametrize("side", [64, 256])
def test_free_form_holes_are_distributed_as_the_reference_holes(side: int) -> None:
    recorded = load_file(FIXTURE)["free_form_hole_fractions"]
    own = 1 - draw(1000, side).mean((1, 2))
    assert own.min() > 0.05 and own.max() < 0.5
    assert ks_2samp(recorded, own).pvalue > 0.05


def test_free_form_holes_look_like_the_reference_holes() -> None:
    """As thick, and in as few pieces."""
    recorded, own = unpacked("free_form_masks") == 0, ~draw(64, 256)

    def pieces(holes: np.ndarray) -> float:
        return float(np.mean([label(hole)[1] for hole in holes]))

    def rim(holes: np.ndarray) -> float:
        edges = (holes[:, 1:] != holes[:, :-1]).sum() + (holes[:, :, 1:] != holes[:, :, :-1]).sum()
        return float(edges / holes.sum())

    assert abs(pieces(recorded) - pieces(own)) < 1
    assert abs(rim(recorded) / rim(own) - 1) < 0.15


def test_gaussian_taps_are_scipys() -> None:
    pulse = np.zeros(61)
    pulse[30] = 1
    expected = gaussian_filter(pulse, 3.0)
    assert np.count_nonzero(expected) == 25
    np.testing.assert_allclose(kernels.gaussian_taps(256, 3.0), expected[18:43], atol=1e-15)
    assert len(kernels.gaussian_taps(64, 3.0)) == 7


@pytest.mark.parametrize(("side", "size"), [(64, 15), (256, 61), (512, 121)])
def test_motion_kernels(side: int, size: int) -> None:
    drawn = [kernels.motion(np.random.default_rng(seed), side, size=61, intensity=0.5) for seed in range(50)]
    for kernel in drawn:
        assert kernel.shape == (size, size) and kernel.min() >= 0
        assert abs(kernel.sum() - 1) < 1e-5
    mean = torch.from_numpy(np.mean(drawn, axis=0))
    position = torch.arange(size) - size // 2
    assert abs(float((mean.sum(0) * position).sum())) < 0.05 * size  # centred: a blur does not shift images
    assert abs(float((mean.sum(1) * position).sum())) < 0.05 * size
    covered = [float((kernel > kernel.max() / 10).mean()) for kernel in drawn]
    assert max(covered) < 0.25  # a path, not a patch


def test_small_motion_kernels_are_large_ones_reduced() -> None:
    def spread(kernel: np.ndarray) -> float:
        position = (np.arange(len(kernel)) - len(kernel) // 2) / len(kernel)
        return float((kernel.sum(0) * position**2).sum())

    for seed in range(20):
        large, small = (kernels.motion(np.random.default_rng(seed), s, size=61, intensity=0.5) for s in (256, 64))
        assert abs(spread(large) - spread(small)) < 0.01


@pytest.mark.parametrize(
    ("known", "seen"),
    [("left", np.s_[:, :8]), ("right", np.s_[:, 8:]), ("top", np.s_[:8]), ("bottom", np.s_[8:])],
)
def test_the_half_that_is_known(known: str, seen: tuple[slice, ...]) -> None:
    mask = masks.half(RNG, 16, known=known)
    assert mask[seen].all() and mask.sum() == 128


@pytest.mark.parametrize("side", [64, 256])
def test_every_second_line_has_odd_rows_missing_on_any_side(side: int) -> None:
    mask = masks.destripe(RNG, side, orientation="horizontal", period=2, width=1, phase=0.5)
    assert mask[0::2].all() and not mask[1::2].any()


@pytest.mark.parametrize(("side", "period", "width"), [(256, 32, 8), (64, 8, 2)])
@pytest.mark.parametrize("phase", [0.0, 0.25, 0.875])
def test_bands_follow_the_definition(side: int, period: int, width: int, phase: float) -> None:
    mask = masks.destripe(RNG, side, orientation="vertical", period=32, width=8, phase=phase)
    for column in range(side):
        assert (mask[:, column] == ((column + phase * period) % period >= width)).all()


def test_random_stripes_have_the_widths_and_gaps_asked_for() -> None:
    widths, gaps, covered = set(), set(), []
    for seed in range(200):
        line = masks.destripe_random(
            np.random.default_rng(seed), 256, orientation="horizontal", width=(1, 9), gap=(4, 33)
        )
        assert (line == line[:, :1]).all()
        regions, count = label(~line[:, 0])
        ends = [np.flatnonzero(regions == number + 1)[[0, -1]] for number in range(count)]
        widths |= {int(last - first) + 1 for first, last in ends[:-1]}  # the last may be cut at the border
        gaps |= {int(ends[0][0])} | {int(b[0] - a[1]) - 1 for a, b in pairwise(ends)}
        covered.append(1 - line.mean())
    assert widths == set(range(1, 9)) and gaps == set(range(4, 33))
    small = [
        1
        - masks.destripe_random(
            np.random.default_rng(seed), 64, orientation="vertical", width=(1, 9), gap=(4, 33)
        ).mean()
        for seed in range(200)
    ]
    assert abs(np.mean(covered) - np.mean(small)) < 0.01  # a reduced mask covers as much

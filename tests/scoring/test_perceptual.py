from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ldsmc_bench.scoring.paired import unit_range
from ldsmc_bench.toyfaces.features import load_features, perceptual_distance

LEVELS = {"blur": (0.5, 1.0, 2.0, 4.0), "noise": (4, 12, 32, 64)}


def test_zero_for_the_same_image_and_the_same_both_ways(faces: Tensor) -> None:
    network, x = load_features(), unit_range(faces[:4])
    assert torch.equal(perceptual_distance(network, x, x), torch.zeros(4))
    assert torch.equal(perceptual_distance(network, x, x.flip(0)), perceptual_distance(network, x.flip(0), x))


@pytest.mark.parametrize("kind", LEVELS)
def test_grows_with_the_damage_on_every_image(faces: Tensor, degrade: Callable[..., Tensor], kind: str) -> None:
    images, network = faces[:6], load_features()
    damaged = [unit_range(degrade(images, **{kind: level})) for level in LEVELS[kind]]
    distances = torch.stack([perceptual_distance(network, x, unit_range(images)) for x in damaged])
    assert (distances[0] > 0).all() and (distances.diff(dim=0) > 0).all()


def test_another_face_is_further_than_a_small_shift_of_the_same(faces: Tensor) -> None:
    images, network = unit_range(faces[:8]), load_features()
    shifted = perceptual_distance(network, images.roll(1, dims=3), images)
    another = perceptual_distance(network, images.roll(1, dims=0), images)
    assert (another > shifted).all()


def test_is_the_mean_over_layers_of_unit_vectors_apart() -> None:
    class TwoLayers:
        def layers(self, x: Tensor) -> list[Tensor]:
            return [5 * x, x.sum(1, keepdim=True)]

    a, b = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    a[:, 0], b[:, 1] = 0.7, 0.2  # orthogonal in the first layer, 2 apart; the same direction in the second
    distance = perceptual_distance(TwoLayers(), a, b)  # type: ignore[arg-type]
    torch.testing.assert_close(distance, torch.tensor([1.0]))

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench import toyfaces
from ldsmc_bench.errors import UserError
from ldsmc_bench.scoring.paired import unit_range
from ldsmc_bench.toyfaces.features import DIMENSION, WEIGHTS, FeatureNetwork, load_features
from ldsmc_bench.toyfaces.train import labels_of


def test_the_shipped_network_knows_what_test_faces_show(faces: Tensor) -> None:
    answers = labels_of(toyfaces.ids("test")[:128])
    logits = load_features()(unit_range(faces[:128]))
    assert list(logits) == list(toyfaces.LABELS)
    right = {name: float((logits[name].argmax(1) == answers[:, i]).float().mean()) for i, name in enumerate(logits)}
    for name in ("glasses", "hat", "mouth", "collar", "hair_colour"):
        assert right[name] > 0.9, right


def test_shapes_of_features_and_layers(faces: Tensor) -> None:
    network, x = load_features(), unit_range(faces[:2])
    assert network.features(x).shape == (2, DIMENSION)
    shapes = [tuple(activations.shape) for activations in network.layers(x)]
    assert shapes == [(2, 32, 64, 64), (2, 48, 32, 32), (2, 96, 16, 16), (2, 128, 8, 8), (2, 160, 4, 4)]


def test_an_image_has_the_same_features_in_any_batch(faces: Tensor) -> None:
    network, x = load_features(), unit_range(faces[:5])
    together = network.features(x)
    for i in range(5):
        torch.testing.assert_close(network.features(x[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-4)


def test_only_8_bits() -> None:
    with pytest.raises(TypeError, match="8-bit"):
        unit_range(torch.zeros(1, 3, 64, 64))


def test_weights_are_frozen_and_carry_their_digest() -> None:
    network = load_features()
    assert not any(p.requires_grad for p in network.parameters())
    assert len(network.digest) == 64
    assert FeatureNetwork({"a": 2}).digest == "untrained"


def test_a_missing_or_spoilt_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        load_features(tmp_path / "none.safetensors")
    spoilt = tmp_path / "spoilt.safetensors"
    shutil.copy(WEIGHTS, spoilt)
    with spoilt.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(UserError, match="spoilt") as caught:
        load_features(spoilt)
    assert "\n" not in str(caught.value)

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from ldsmc_bench import toyfaces
from ldsmc_bench.scoring.paired import unit_range
from ldsmc_bench.toyfaces import train
from ldsmc_bench.toyfaces.features import DIMENSION, FeatureNetwork, load_features


def test_the_command_ships_weights_that_load_with_how_they_were_made(
    tmp_path: Path, faces: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "features.safetensors", ["--steps", "2", "--faces", "16", "--batch-size", "4"]
    monkeypatch.setattr(sys, "argv", ["train", "features", "--out", str(out), *options])
    train.main()
    network = load_features(out)
    assert network.features(unit_range(faces[:1])).shape == (1, DIMENSION)
    assert network.labels == toyfaces.LABELS
    with safe_open(out, "pt") as file:
        made = json.loads(file.metadata()["made"])
    assert made["seed"] == 0 and set(made["validation_accuracy"]) == set(toyfaces.LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digests.json", out.name]


def test_augmented_images_are_new_at_every_step_and_the_same_for_one_seed(faces: Tensor) -> None:
    x = unit_range(faces[:12])
    first, again, other = (train.augment(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == x.shape and first.min() >= 0 and first.max() <= 1
    assert (first - x).abs().mean() < 0.1


def test_standard_features_have_a_unit_and_the_same_logits(faces: Tensor) -> None:
    torch.manual_seed(0)
    network = FeatureNetwork({"a": 2, "b": 7}).eval()
    x = unit_range(faces[:64])
    with torch.no_grad():
        before, features = network(x), network.features(x)
        train.standardise(network, faces[:64])
        after, standard = network(x), network.features(x)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert standard.mean(0).abs().max() < 1e-3
    assert float(standard.var(0).mean()) == pytest.approx(1, rel=1e-3)
    torch.testing.assert_close(torch.corrcoef(standard.T), torch.corrcoef(features.T), rtol=1e-2, atol=1e-2)


def test_guessing_costs_one_and_certainty_nothing() -> None:
    answers = torch.tensor([[0, 4], [1, 2]])
    assert float(train.cross_entropy({"a": torch.zeros(2, 2), "b": torch.zeros(2, 7)}, answers)) == pytest.approx(1)
    sure = {"a": 50 * torch.eye(2), "b": 50 * torch.eye(7)[[4, 2]]}
    assert float(train.cross_entropy(sure, answers)) == pytest.approx(0, abs=1e-6)

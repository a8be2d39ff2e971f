"""What a batch keeps of what a sampler lets out."""

import math

import pytest
import torch
from scipy import stats

from ldsmc_bench.running.restore import entropy, grey


def test_entropy_of_weights_is_shannons() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    found = entropy(weights.log() + torch.tensor([[-1000.0], [3.0], [1000.0]]))  # a constant does not matter
    assert found.tolist() == pytest.approx(stats.entropy(weights.numpy(), axis=1).tolist(), abs=1e-4)
    assert found[1:].tolist() == pytest.approx([0, math.log(4)])


def test_spread_is_in_units_of_eight_bit_pixels() -> None:
    """Particles that are 10 of 255 apart on either side of their mean have a standard deviation of 10."""
    x = torch.zeros(2, 3, 4, 4)
    apart = torch.stack([x + 10 / 127.5, x - 10 / 127.5], dim=1).std(dim=1, correction=0)
    assert torch.equal(grey(apart), torch.full((2, 4, 4), 10, dtype=torch.uint8))
    apart[0, :, 0, 0], apart[1, 0] = torch.inf, 0.0
    assert grey(apart)[0, 0, 0] == 255
    assert grey(apart)[1, 0, 0] == round(10 * (2 / 3) ** 0.5)

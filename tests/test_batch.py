"""What a batch keeps of a sampler's diagnostics."""

import math

import pytest
import torch
from scipy import stats

from ldsmc_bench.batch import entropy


def test_entropy_of_weights_is_shannons() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    found = entropy(weights.log() + torch.tensor([[-1000.0], [3.0], [1000.0]]))  # a constant does not matter
    assert found.tolist() == pytest.approx(stats.entropy(weights.numpy(), axis=1).tolist(), abs=1e-4)
    assert found[1:].tolist() == pytest.approx([0, math.log(4)])

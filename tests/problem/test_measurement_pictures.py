"""Pictures of measurements: clipped, grey where nothing was observed, logarithmic for magnitudes."""

import torch

from ldsmc_bench.problem.measurement import Measurement
from ldsmc_bench.problem.operators import Identity, Mask, PhaseRetrieval
from ldsmc_bench.problem.problem import measurement_pictures


def test_a_measurement_is_shown_clipped_with_its_hole_grey() -> None:
    y = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5, 0.9]).expand(1, 3, 2, 6)
    shown = measurement_pictures(Measurement(y, Identity(), 0.1))
    assert shown[0, 0, 0].tolist() == [0, 0, 128, 255, 255, 242] and shown.dtype == torch.uint8
    mask = torch.ones(1, 1, 2, 6)
    mask[..., 5] = 0
    assert measurement_pictures(Measurement(y, Mask(mask), 0.1))[0, :, 0, 5].tolist() == [128] * 3


def test_magnitudes_are_shown_on_a_logarithmic_scale_image_by_image() -> None:
    y = torch.tensor([[-0.1, 0.1, 1.0, 10.0], [0.0, 0.2, 20.0, 200.0]]).reshape(2, 1, 1, 4).expand(2, 3, 1, 4)
    shown = measurement_pictures(Measurement(y, PhaseRetrieval(0), 0.1))
    assert shown[0, 0, 0].tolist() == [0, 0, 128, 255]
    assert shown[1, 0, 0].tolist() == [0, 0, 170, 255]
    silent = measurement_pictures(Measurement(torch.zeros(1, 3, 2, 2), PhaseRetrieval(0), 0.0))
    assert (silent == 0).all()

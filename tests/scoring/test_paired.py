import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.measurement import Measurement, measure
from ldsmc_bench.problem.operators import Identity, Mask
from ldsmc_bench.scoring.metrics import image_metrics
from ldsmc_bench.scoring.paired import misfit, paired_metrics, psnr, ssim


def left_half_hidden(side: int, noise: Noise) -> Mask:
    mask = torch.ones(len(noise.image_ids), 1, side, side)
    mask[..., : side // 2] = 0
    return Mask(mask)


def measured(images: Tensor, *, noise_std: float) -> Measurement:
    noise = Noise(0, [str(i) for i in range(len(images))], "test")
    return measure(images.float() / 127.5 - 1, left_half_hidden, noise, noise_std=noise_std, noise_in_hole=False)


@pytest.mark.parametrize("step", [1, 10])
def test_psnr_of_a_constant_error(step: int) -> None:
    image = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert psnr(image + step, image) == pytest.approx(20 * math.log10(255 / step), rel=1e-12)


def test_psnr_of_a_perfect_image_is_finite_and_above_every_other() -> None:
    image = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    nearly = image.clone()
    nearly[0, 0, 0, :2] += 1
    assert psnr(nearly, image) < psnr(image, image) < 100


def test_ssim_is_one_for_the_same_image_and_the_formula_for_constants(faces: Tensor) -> None:
    images = faces[:1]
    assert ssim(images, images) == pytest.approx(1, abs=1e-12)
    a, b = (torch.full((1, 3, 32, 32), value, dtype=torch.uint8) for value in (51, 204))
    c1 = 0.01**2  # constant images have no variance: only the luminance term is left (Wang et al. 2004, Eq. 13)
    assert ssim(a, b) == pytest.approx((2 * 0.2 * 0.8 + c1) / (0.2**2 + 0.8**2 + c1), abs=1e-9)


def test_the_truth_fits_like_noise(faces: Tensor) -> None:
    images = faces[:4]
    for noise_std in (0.05, 0.2):
        measurement = measured(images, noise_std=noise_std)
        values = [misfit(images[i : i + 1], measurement.select(torch.tensor([i]))) for i in range(4)]
        assert values == pytest.approx([1.0] * 4, abs=0.04)


def test_misfit_is_the_residual_over_the_noise_where_observed() -> None:
    images = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    clean = images.float() / 127.5 - 1
    measurement = Measurement(clean, left_half_hidden(8, Noise(0, ["a"], "test")), noise_std=0.02)
    shifted = images.clone()
    shifted[..., :4] = 255  # in the hole: no matter
    shifted[..., 4:] += 5
    assert misfit(shifted, measurement) == pytest.approx(5 / 127.5 / 0.02, rel=1e-5)


def test_an_image_has_every_metric_as_a_finite_number(faces: Tensor, degrade: Callable[..., Tensor]) -> None:
    image, metrics = faces[:1], image_metrics(64, torch.device("cpu"))
    row = paired_metrics(degrade(image, blur=1.0, noise=5), image, measured(image, noise_std=0.05), metrics)
    assert list(row) == ["psnr", "ssim", "toyfaces_perceptual", "misfit"]
    assert all(isinstance(value, float) and math.isfinite(value) for value in row.values())


def test_without_noise_there_is_no_misfit_to_state(faces: Tensor) -> None:
    images = faces[:1]
    measurement = Measurement(images.float() / 127.5 - 1, Identity(), noise_std=0.0)
    assert list(paired_metrics(images, images, measurement, {"psnr": psnr})) == ["psnr"]


def test_what_an_image_has_no_value_of_is_left_out_of_its_row(faces: Tensor) -> None:
    images = faces[:2]
    bright = images[1].float().mean()

    def of_bright_images(image: Tensor, truth: Tensor) -> float | None:
        return 1.0 if image.float().mean() == bright else None

    rows = [
        paired_metrics(image[None], image[None], measured(image[None], noise_std=0.05), {"bright": of_bright_images})
        for image in images
    ]
    assert [list(row) for row in rows] == [["misfit"], ["bright", "misfit"]]

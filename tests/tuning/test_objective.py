"""What a search makes small, against values by hand."""

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.tuning.objective import parse

METRICS = {"toyfaces_perceptual": 0.3, "misfit": 0.8, "psnr": 25.0, "ssim": None}


@pytest.mark.parametrize(
    ("text", "value", "formula"),
    [
        ("toyfaces_perceptual", 0.3, "toyfaces_perceptual"),
        ("psnr", -25.0, "-psnr"),  # higher is better
        ("misfit", 0.2, "|misfit - 1|"),  # one is best
        ("toyfaces_perceptual+0.01*misfit", 0.302, "toyfaces_perceptual + 0.01 |misfit - 1|"),
        ("log(toyfaces_perceptual)", -1.2039728, "log(toyfaces_perceptual)"),
        ("log(misfit)", 0.2231436, "|log(misfit)|"),
        ("2*toyfaces_perceptual + 1e-2*psnr", 0.35, "2 toyfaces_perceptual + 0.01 -psnr"),
    ],
)
def test_a_metric_or_a_weighted_pair_in_its_direction(text: str, value: float, formula: str) -> None:
    objective = parse(text)
    assert objective.of(METRICS) == pytest.approx(value)
    assert str(objective) == formula


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("perceptual", r"^metric=perceptual: no metric of an image .*did you mean .*toyfaces_perceptual"),
        ("toyfaces_fid", r"^metric=toyfaces_fid: no metric of an image"),  # of a set
        ("psnr+", r"^metric=psnr\+: write a metric, or a weighted pair"),
        ("psnr-ssim", r"^metric=psnr-ssim: write a metric"),
        ("log(psnr)", r"^metric=log\(psnr\): higher is better"),
        ("log(psn)", r"^metric=psn: no metric of an image"),
        ("0*psnr", r"^metric=0\*psnr: write a metric"),
    ],
)
def test_anything_else_is_one_line(text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        parse(text)


def test_a_metric_that_the_runs_lack_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^metric=ssim: these runs do not have it; .*misfit, psnr, toyfaces_perceptual"
    ):
        parse("ssim").of(METRICS)

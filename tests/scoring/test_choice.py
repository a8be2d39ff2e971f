"""Which metrics a run has, by the size of its images and by what the cache holds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.check import record
from ldsmc_bench.fetch.sources import SOURCES
from ldsmc_bench.files import file_digest
from ldsmc_bench.scoring import metrics
from ldsmc_bench.scoring.fetched import file_of
from ldsmc_bench.scoring.metrics import (
    complete_summary,
    digests,
    explain_missing,
    image_metrics,
    set_scores,
    suitable_metrics,
)
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.toyfaces.features import load_features
from tests.scoring import standins

CPU = torch.device("cpu")


def pictures(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((n, 3, 12, 12), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic")
    return (255 * fine).round().clamp(0, 255).to(torch.uint8)


def summary(n: int, sets: dict[str, Any], **counts: int) -> dict[str, Any]:
    return {
        "n": n,
        "metrics": {name: {"mean": 1.0, "se": None, "n": count} for name, count in counts.items()},
        "sets": sets,
    }


def test_every_metric_that_a_run_can_have_has_a_protocol_and_every_file_a_source() -> None:
    for side in (32, 64, 96, 256):
        assert set(suitable_metrics(side)) <= PROTOCOLS.keys()
    with_network = {name for name, protocol in PROTOCOLS.items() if protocol.network}
    assert set(suitable_metrics(64)) | set(suitable_metrics(256)) == with_network
    assert {protocol.fetched for protocol in PROTOCOLS.values()} - {None} == {
        name for name in SOURCES if "metric=" in name
    }
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.range[0] < protocol.range[1]
        assert (protocol.fetched is None) <= (protocol.network in (None, PROTOCOLS["toyfaces_fid"].network))


@pytest.mark.usefixtures("fetched")
def test_at_64_pixels_toyfaces_metrics_are_all_even_where_others_were_fetched() -> None:
    assert list(image_metrics(64, CPU)) == ["psnr", "ssim", "toyfaces_perceptual"]
    assert explain_missing(64, summary(8, {}, psnr=8)) is None


@pytest.mark.usefixtures("fetched")
def test_tiny_images_have_no_metric_of_a_network() -> None:
    assert list(image_metrics(16, CPU)) == ["psnr", "ssim"]
    assert set_scores("ffhq", pictures(3, 16), [], CPU, None) == {"warning": None}
    assert explain_missing(16, summary(8, {}, psnr=8)) is None


@pytest.mark.usefixtures("nothing_fetched")
def test_without_files_there_is_less_and_one_line_says_what_brings_them() -> None:
    assert list(image_metrics(256, CPU)) == ["psnr", "ssim"]
    assert set_scores("ffhq", pictures(3, 80), [], CPU, None) == {"warning": None}
    line = explain_missing(256, summary(8, {}, psnr=8))
    assert line is not None and line.count("metric=inception") == 1
    assert "LPIPS (VGG), LPIPS (Alex), NIQE, FID, KID" in line and "python -m ldsmc_bench rescore" in line
    assert "python -m ldsmc_bench fetch metric=lpips_vgg metric=lpips_alex metric=niqe metric=inception;" in line
    smaller = explain_missing(32, summary(8, {}, psnr=8))
    assert smaller is not None and "LPIPS" not in smaller and "NIQE" not in smaller
    assert digests(["psnr", "lpips_vgg", "misfit"]) == {}
    assert digests(["toyfaces_perceptual"]) == {"toyfaces_perceptual": load_features().digest}


def test_each_file_brings_its_own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    standins.write(tmp_path, only="niqe")
    metrics = image_metrics(192, CPU)
    assert list(metrics) == ["psnr", "ssim", "niqe"]
    image = pictures(1, 192)
    value = metrics["niqe"](image, image)
    assert value is not None and value > 0
    assert list(image_metrics(96, CPU)) == ["psnr", "ssim"]  # a single block
    path = file_of("niqe")
    assert path is not None and digests(["niqe"]) == {"niqe": file_digest(path)}


def test_a_file_that_was_cut_is_an_error_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    standins.write(tmp_path, only="niqe")
    path = tmp_path / "metrics" / "niqe" / "niqe_pris_params.npz"
    record(path, file_digest(path), "a test")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="metric=niqe --force"):
        image_metrics(256, CPU)


@pytest.mark.usefixtures("fetched")
def test_images_without_a_metric_whose_file_is_there_are_counted() -> None:
    sets = {"fid_clean": 3.0, "kid_clean": 0.1}
    whole = {"lpips_vgg": 8, "lpips_alex": 8, "niqe": 8}
    assert explain_missing(256, summary(8, sets, **whole)) is None
    line = explain_missing(256, summary(8, sets, **{**whole, "lpips_vgg": 0, "niqe": 7}))
    assert line is not None and line.startswith("of 8 images there is only LPIPS (VGG) of 0, NIQE of 7; ")
    assert line.endswith("python -m ldsmc_bench rescore")
    full = complete_summary(summary(8, sets | {"warning": "few"}, **{**whole, "niqe": 7}), 256)
    assert full["sets"]["warning"].startswith("few; of 8 images")
    assert full["networks"].keys() == {"lpips_vgg", "lpips_alex", "niqe", "fid_clean", "kid_clean"}


def test_a_finished_set_is_not_computed_twice(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, truths = pictures(5, 80), pictures(5, 80, seed=1)
    first = set_scores("folder", images, truths, CPU, None)
    assert first["fid_clean_low"] <= first["fid_clean"] and first["n"] == first["reference_n"] == 5

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(metrics, "set_metrics", never)
    marked = first | {"warning": f"{first['warning']}; not computed: …"}
    assert set_scores("folder", images, truths, CPU, {"sets": marked}) == first
    for others in (images[:4], images.flip(0)):  # fewer, or as many with another one among them
        with pytest.raises(AssertionError, match="again"):
            set_scores("folder", others, truths[: len(others)], CPU, {"sets": marked})
    with pytest.raises(AssertionError, match="again"):
        set_scores("folder", images, truths, CPU, {"sets": {**marked, "network": "another"}})

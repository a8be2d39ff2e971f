"""Reference statistics of a folder: the numbers of all its pictures at once, found again by runs on that data set."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ldsmc_bench.commands import reference
from ldsmc_bench.photos import folder as folders
from ldsmc_bench.photos import statistics
from ldsmc_bench.problem import pictures
from ldsmc_bench.scoring.distances import moments
from ldsmc_bench.scoring.metrics import set_scores
from ldsmc_bench.scoring.reference import FeatureSpace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    (root / "00000").mkdir()
    for i in range(7):
        Image.effect_mandelbrot((90 + i, 84), (-2, -1, 1, 1), 10 + 5 * i).save(root / "00000" / f"{i:05}.png")
    return root


def as_read(folder: Path, side: int) -> Tensor:
    images = [pictures.read(path, side) for path in sorted(folder.rglob("*.png"))]
    return ((torch.stack(images) + 1) * 127.5).round().to(torch.uint8)


def mean_colours() -> FeatureSpace:
    """Six features of an image: the mean and the spread of each colour."""

    def features(images: list[Tensor]) -> np.ndarray:
        return np.stack([torch.cat([x.double().mean((1, 2)), x.double().std((1, 2))]).numpy() for x in images])

    return FeatureSpace("fid", "kid", 6, "colours", features)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [3, 100])
def test_moments_are_those_of_all_pictures_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(statistics, "CHUNK", chunk)
    made = statistics.folder_reference(mean_colours(), "faces", str(folder), 64)
    features = mean_colours().features(list(as_read(folder, 64)))
    mean, cov = moments(features)
    np.testing.assert_allclose(made.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(made.cov, cov, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(made.features, features)
    assert (made.n, made.name, made.network) == (7, "7 pictures of faces at 64x64", "colours")


def test_of_many_pictures_kid_keeps_some_from_all_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "KERNEL", 3)
    monkeypatch.setattr(statistics, "CHUNK", 2)
    made = statistics.folder_reference(mean_colours(), "faces", str(folder), 64)
    np.testing.assert_array_equal(made.features, mean_colours().features(list(as_read(folder, 64)))[[0, 3, 6]])
    assert made.n == 7 and made.name.endswith("(KID: 3 of them)")


def test_the_digest_is_that_of_names_and_pixels(folder: Path, tmp_path: Path) -> None:
    def made(root: Path) -> str | None:
        return statistics.folder_reference(mean_colours(), "faces", str(root), 64).digest

    known, ids = hashlib.sha256(), folders.folder(str(folder), 64).ids
    for i, image in enumerate(as_read(folder, 64)):
        known.update(ids[i].encode() + b"\0" + image.numpy().tobytes())
    assert made(folder) == known.hexdigest()
    (tmp_path / "00000").mkdir()
    for path in folder.rglob("*.png"):
        Image.open(path).save(tmp_path / "00000" / path.name, compress_level=0)  # other bytes, the same pixels
    assert made(tmp_path) == made(folder)
    (tmp_path / "00000" / "00003.png").rename(tmp_path / "00000" / "other.png")
    assert made(tmp_path) != made(folder)


def test_the_command_keeps_what_runs_on_that_data_set_find(
    fetched: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.main(["--dataset", "ffhq", "--folder", str(folder), "--size", "80"]) == 0
    assert "7 pictures of ffhq at 80x80" in capsys.readouterr().out
    images = as_read(folder, 80)
    found = set_scores("ffhq", images, [], CPU, None)
    assert (found["reference"], found["reference_n"]) == ("7 pictures of ffhq at 80x80", 7)
    assert len(found["reference_digest"]) == 64
    assert found["fid_clean"] == pytest.approx(0, abs=1e-6)
    for dataset, side in (("imagenet", 80), ("folder", 80), ("ffhq", 96)):
        other = set_scores(dataset, as_read(folder, side), as_read(folder, side), CPU, None)
        assert other["reference"] == "the run's truths" and "reference_digest" not in other
    again = set_scores("ffhq", images, images, CPU, {"sets": {**found, "reference_digest": "of other pictures"}})
    assert again == found


@pytest.mark.usefixtures("nothing_fetched")
@pytest.mark.parametrize(
    ("dataset", "root", "match"),
    [
        ("ffhq", "pictures", "python -m ldsmc_bench fetch metric=inception"),
        ("toyfaces", "pictures", "has its own reference already"),
        ("folder", "pictures", "is compared with its own truths"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    dataset: str, root: str, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.main(["--dataset", dataset, "--folder", root]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and match in error and error.count("\n") == 1


@pytest.mark.usefixtures("fetched")
def test_a_folder_without_enough_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    command = ["--dataset", "ffhq", "--folder", str(tmp_path / "pictures")]
    assert reference.main(command) == 2
    assert "no pictures" in capsys.readouterr().err
    Image.new("RGB", (90, 90)).save(tmp_path / "pictures" / "one.png")
    assert reference.main(command) == 2
    assert "at least two pictures" in capsys.readouterr().err


def test_a_data_set_without_a_folder_is_a_wrong_command() -> None:
    assert reference.main(["--dataset", "ffhq"]) == 2

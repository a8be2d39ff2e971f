"""Images of any number of channels and of any sides, through whole runs: what is measured, scored, kept and shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from diffusers import schedulers
from numpy.typing import NDArray
from PIL import Image

from ldsmc_bench.prior.interface import image_shape
from ldsmc_bench.records.store import read_image
from ldsmc_bench.records.store import runs as stores
from tests.checkpoints import tiny_pipelines as pipelines
from tests.commands import command, tiny

SIDES = (16, 24)


def ddpm(channels: int) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        unet = pipelines.plain_unet(channels, size=SIDES)
        return pipelines.saved(diffusers.DDPMPipeline(unet, schedulers.DDPMScheduler()), folder)

    return save


def write_pictures(folder: Path) -> None:
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def write_arrays(channels: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for i in range(2):
            parts = np.random.default_rng(i).uniform(-0.7, 0.7, (channels, *SIDES))
            np.save(folder / f"{i}.npy", parts[0] + 1j * parts[1] if channels == 2 else parts.astype(np.float32))

    return write


KINDS: dict[str, tuple[int, str, Callable[[Path], None], tuple[str, ...], tuple[str, ...]]] = {
    "grey": (1, "folder", write_pictures, ("box", "sr4", "gaussian_deblur", "freeform"), ("dps",)),
    "colour": (3, "folder", write_pictures, ("half", "motion_deblur", "colorize"), ("dps", "ldsmc")),
    "complex": (2, "arrays", write_arrays(2), ("deepinv",), ("dps", "diffpir", "mmps")),
    "hyperspectral": (6, "arrays", write_arrays(6), ("denoise", "destripe", "phase_retrieval"), ("dps", "ldsmc")),
}


FAST = ("grey", "complex")  # the others are the same in three or six channels


@pytest.fixture(
    scope="module", params=[*FAST, *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k not in FAST)]
)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A folder of runs of one kind."""
    channels, dataset, write, tasks, methods = KINDS[request.param]
    if "deepinv" in tasks:
        pytest.importorskip("deepinv", reason="needs the extra [physics]")
    folder = tmp_path_factory.mktemp(request.param)
    (images := folder / "images").mkdir()
    write(images)
    shape = (f"prior.image_size=[{SIDES[0]},{SIDES[1]}]", f"prior.channels={channels}")
    done = tiny(
        folder,
        *("-m", f"method={','.join(methods)}", f"task={','.join(tasks)}", "particles=1", "prior=diffusers"),
        *(f"prior.path={ddpm(channels)(folder / 'ddpm')}", *shape),
        *(f"dataset={dataset}", f"dataset.root={images}"),
        *(["task.physics=MRI"] if "deepinv" in tasks else []),
    )
    assert done.code == 0, done.err
    return request.param, folder


def summaries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("results/runs/*/summary.json"))]


def test_runs_are_scored_by_what_needs_no_rgb_and_say_what_does(results: tuple[str, Path]) -> None:
    kind, folder = results
    channels, _, _, tasks, methods = KINDS[kind]
    found = summaries(folder)
    assert len(found) == len(tasks) * len(methods)
    for one in found:
        assert {"psnr", "ssim"} <= one["metrics"].keys() and one["n"] == 2
        assert ("need RGB" in (one["sets"]["warning"] or "")) == (channels != 3)


def test_pictures_are_kept_whole_and_scores_are_theirs(results: tuple[str, Path]) -> None:
    kind, folder = results
    channels = KINDS[kind][0]
    for store in stores(folder / "results"):
        for path in sorted(store.root.glob("records/*.json")):
            record = json.loads(path.read_text())
            image = read_image(store, record["image_id"])
            assert image.shape == (*SIDES, channels) and image.dtype == np.uint8
            png = Image.open(store.root / "images" / f"{record['image_id']}.png")
            assert png.mode == ("L" if channels == 1 else "RGB") and png.size == SIDES[::-1]
            beside = store.root / "images" / f"{record['image_id']}.npy"
            assert beside.exists() == (channels not in (1, 3))
            error = (image.astype(float) - truth(folder, kind, record["image_id"])) ** 2
            assert record["metrics"]["psnr"] == pytest.approx(10 * np.log10(255**2 / error.mean()), abs=1e-6)


def truth(folder: Path, kind: str, image_id: str) -> NDArray[np.float64]:
    """The image of the file, read here in another way."""
    if KINDS[kind][1] == "folder":  # 40 x 50, short of 2:3: as wide as 24, 30 high would be; cut to 16
        mode = "L" if kind == "grey" else "RGB"
        picture = Image.open(folder / "images" / f"{image_id}.png").convert(mode)
        resized = picture.resize((24, 24 * 40 // 50), Image.Resampling.BICUBIC)
        top = round((resized.height - 16) / 2)
        return np.atleast_3d(np.asarray(resized.crop((0, top, 24, top + 16)))).astype(float)
    found = np.load(folder / "images" / f"{image_id}.npy")
    parts = np.stack([found.real, found.imag]) if np.iscomplexobj(found) else found
    return np.rint((parts.astype(np.float32) + 1) * 127.5).transpose(1, 2, 0).astype(float)


def test_reports_show_them(results: tuple[str, Path]) -> None:
    _, folder = results
    assert list(folder.glob("results/figures/*.png"))  # the sheets that end a command
    for word in ("page", "tables", "rescore", "status"):
        done = command(folder, word)
        assert done.code == 0, done.err
        assert "Traceback" not in done.err


def test_a_prior_of_other_images_than_the_data_sets_is_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    saved = ddpm(1)(tmp_path / "ddpm")
    chosen = ("method=dps", "task=box", "prior=diffusers", f"prior.path={saved}", "prior.image_size=16")
    images = ("dataset=folder", f"dataset.root={tmp_path}")
    for more, named in (
        ((*images, "prior.channels=3"), "set prior.channels=1"),
        ((*images, "prior.channels=4"), "pictures have 1 or 3 channels"),
        (
            ("dataset=toyfaces", "prior.channels=1"),
            "images are of 64 pixels, but the prior's of 16 pixels and 1 channel(s)",
        ),
    ):
        done = tiny(tmp_path, *chosen, *more)
        assert done.code > 0 and named in done.errors[0] and len(done.errors) == 1


def test_the_shape_of_images_is_the_priors_or_that_of_its_latents() -> None:
    class Prior:
        image_size: Any = 8
        shape = (3, 4, 4)

    assert image_shape(Prior()) == (3, 8, 8)  # type: ignore[arg-type]
    Prior.shape = (5, 8, 8)
    assert image_shape(Prior()) == (5, 8, 8)  # type: ignore[arg-type]
    Prior.image_size, Prior.channels = (8, 12), 1  # type: ignore[attr-defined]
    assert image_shape(Prior()) == (1, 8, 12)  # type: ignore[arg-type]

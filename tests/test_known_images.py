"""Runs on images whose posterior is known, from the command line to the record."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.commands import images, records, runs, tiny

FACES = ("dataset=kde_faces", "dataset.faces=20", "steps=3", "n_images=1")


def drawn(run: Path) -> np.ndarray:
    return np.concatenate([load_file(path)["draws"] for path in sorted((run / "draws" / "problem-0000").iterdir())])


def test_draws_of_an_image_are_judged_and_filled_in(tmp_path: Path) -> None:
    exact = (*FACES, "method=ldsmc", "variant=exact")
    assert (done := tiny(tmp_path, *exact, "draws=5")).code == 0, done.err
    assert "SW1/floor" in done.out and "entropy" in done.out
    (run,) = runs(tmp_path)
    few = drawn(run)
    assert few.shape == (10, 3 * 64 * 64)  # a block, of which 5 draws are asked for
    assert few.dtype == np.float16
    assert (again := tiny(tmp_path, *exact, "draws=15")).code == 0, again.err
    assert runs(tmp_path) == [run]
    assert drawn(run).shape[0] == 20 and np.array_equal(drawn(run)[:10], few)
    (record,) = records(run).values()
    assert record["draws"] == 15 and 0 <= record["metrics"]["entropy"] <= np.log(20)
    assert {"sw1_ratio", "log_evidence_gap"} <= set(record["metrics"])
    assert Image.open(run / "images" / "problem-0000.png").size == (10 * 66 - 2, 2 * 66 - 2)


def test_latent_and_pixel_methods_run_on_images_alone_under_any_operator(tmp_path: Path) -> None:
    world = ("dataset=empirical", "task=hdr", "task.noise_std=20", *FACES[1:], "draws=10")
    done = tiny(tmp_path, *world, "-m", "method=latent_dps,dps")
    assert done.code == 0, done.err
    for run in runs(tmp_path):
        (record,) = records(run).values()
        assert record["dataset"] == "empirical" and record["metrics"]["sw1_ratio"] > 0
        assert set(images(run)) == {"problem-0000"}


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("task=hdr", "skipped"),
        ("task.noise=poisson", "task.noise=poisson: the posterior is known for gaussian noise alone"),
        ("prior=pixel_toyfaces", "knows no posterior; leave prior=... out"),
    ],
)
def test_what_has_no_answer_is_named(argument: str, said: str, tmp_path: Path) -> None:
    done = tiny(tmp_path, *FACES, "method=dps", argument, "draws=10")
    assert said in done.out + done.err

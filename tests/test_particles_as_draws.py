"""`particles_as_draws`: the weighted particles of draw 0 are kept, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.records.particles import read_particles, with_particles
from ldsmc_bench.records.store import Store, read_spread
from ldsmc_bench.running.restore import weighted_particles
from ldsmc_bench.sampling.trace import Trace
from tests.commands import LIGHT, images, records, repeatable, runs, tiny, whole_run

FIVE = (*LIGHT, "task=box", "steps=3", "particles=5", "draws=2")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(tmp_path_factory.mktemp("asked"), *FIVE, "particles_as_draws=true")


def test_particles_are_kept_of_draw_0_with_their_weights(asked: Path) -> None:
    store = Store(asked, asked.name)
    assert with_particles(store) == set(images(asked)) and not (asked / "draws" / "1" / "particles").exists()
    for image_id, record in records(asked).items():
        pictures, weights = read_particles(store, image_id)
        assert pictures.shape == (5, 3, 64, 64) and pictures.dtype == np.uint8
        assert weights.sum() == pytest.approx(1)
        assert 1 / np.square(weights).sum() == pytest.approx(record["diagnostics"]["ess"][-1])
        spread = np.sqrt(np.square(pictures.astype(float).std(axis=0)).mean(axis=0))
        kept = read_spread(store, image_id)
        assert kept is not None and np.abs(spread - kept).mean() < 1, "up to what clipping to 8 bits takes"


def test_they_are_added_to_a_finished_run_whose_id_rows_and_pictures_stay(asked: Path, tmp_path: Path) -> None:
    plain = whole_run(tmp_path, *FIVE)
    assert plain.name == asked.name and not (plain / "particles").exists()
    before = repeatable(plain), images(plain)
    assert tiny(tmp_path, *FIVE, "particles_as_draws=true").code == 0
    (run,) = runs(tmp_path)
    assert (repeatable(run), images(run)) == before
    for image_id in images(run):
        for added, one in zip(*(read_particles(Store(one, one.name), image_id) for one in (run, asked)), strict=True):
            assert np.array_equal(added, one)


def test_what_cannot_be_kept_or_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="particles_as_draws=true: method=mine reports no particles: leave it out"):
        weighted_particles(Trace(), "mine")
    done = tiny(tmp_path, *LIGHT, "method=psld", "particles_as_draws=true")
    assert done.code == 0
    assert "particles_as_draws=true: no effect, method=psld has one particle an image\n" in done.err
    done = tiny(tmp_path, "dataset=mixture", "particles_as_draws=true")
    assert done.errors == [
        "error: particles_as_draws=true: dataset=mixture keeps one draw of a run; leave it out, or false"
    ]
    damaged = tmp_path / "particles" / "a.npz"
    damaged.parent.mkdir()
    damaged.write_bytes(b"half")
    with pytest.raises(UserError, match=r"a\.npz is absent or damaged: remove it and give the run's command again"):
        read_particles(Store(tmp_path, "a"), "a")

"""What may go wrong through no mistake of the user: weights, numbers, memory, the disk. One line, nothing is lost."""

import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import file_digest
from ldsmc_bench.records.status import statuses
from ldsmc_bench.toyfaces.assets import ASSETS, check_digest
from tests.commands import LIGHT, files, flawed, images, records, repeatable, runs, tiny
from tests.samplers import UNLUCKY


def test_weights_that_are_missing_or_not_those_that_were_shipped(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match=r"weights\.safetensors: weights are missing; restore"):
        check_digest(path)
    path.write_bytes(b"the weights")
    (tmp_path / "digests.json").write_text(json.dumps({path.name: file_digest(path)}))
    check_digest(path)
    path.write_bytes(b"the weightz")
    with pytest.raises(UserError, match=r"weights\.safetensors: SHA-256 differs .* restore"):
        check_digest(path)


def with_damaged_weights(folder: Path) -> None:
    """The embedded assets are those in `folder`."""
    from ldsmc_bench.toyfaces import assets, priors

    for module in (assets, priors):
        module.ASSETS = folder  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["missing", "truncated", "another"])
def test_a_run_with_damaged_weights(tmp_path: Path, damage: str) -> None:
    for name in ("autoencoder", "latent"):
        shutil.copy(ASSETS / f"toyfaces_{name}.safetensors", tmp_path)
    path = tmp_path / "toyfaces_latent.safetensors"
    (tmp_path / "digests.json").write_text(json.dumps({path.name: file_digest(path)}))
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
        (tmp_path / "digests.json").unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = tiny(tmp_path, first=partial(with_damaged_weights, tmp_path))
    assert done.code == 2
    (line,) = done.errors
    assert str(path) in line
    assert "Traceback" not in done.err
    assert not (tmp_path / "results" / "runs").exists()


# -- numbers that are not finite, and memory


@pytest.mark.parametrize(
    ("sampler", "reason"),
    [("one_nan", "the result is not finite"), ("infinite_diagnosis", "diagnostics.ess is not finite")],
)
def test_a_result_that_is_not_finite_fails_alone_and_is_in_no_mean(tmp_path: Path, sampler: str, reason: str) -> None:
    done = tiny(tmp_path, *LIGHT, *flawed(sampler), "n_images=3", "batch_size=3")
    assert done.code == 1
    assert f"{UNLUCKY} failed: {reason}" in done.err.replace("\r", "\n")
    assert f"1 of 3 images failed: {reason} (results/runs/" in done.errors[0]
    assert "Traceback" not in done.err
    (run,) = runs(tmp_path)
    kept = records(run)
    assert {name for name, record in kept.items() if record["status"] == "failed"} == {UNLUCKY}
    assert (kept[UNLUCKY]["error"], kept[UNLUCKY]["metrics"]) == (reason, {})
    assert UNLUCKY not in images(run)
    summary = json.loads((run / "summary.json").read_text())
    good = [record["metrics"]["psnr"] for name, record in kept.items() if name != UNLUCKY]
    assert (summary["n"], summary["n_failed"]) == (2, 1)
    assert summary["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(good))


def test_what_a_method_cannot_do_is_skipped_with_the_reason_and_fails_nothing(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, *flawed("unable"), "n_images=2")
    reason = "unable: needs a pseudo-inverse, which this task has not"
    assert done.code == 0
    assert "0 (2 skipped)" in done.out and f"skipped: {reason}" in done.out
    assert done.out.splitlines()[-1] == f"nothing was restored: {reason}", "and no sheet is drawn"
    (run,) = runs(tmp_path)
    assert {(kept["status"], kept["error"]) for kept in records(run).values()} == {("skipped", reason)}
    assert json.loads((run / "summary.json").read_text())["skipped"] == reason
    (status,) = statuses(tmp_path / "results")
    assert (status.skipped, status.missing, status.failed, status.complete) == (2, 0, 0, True)


@pytest.mark.parametrize("particles", [1, 2])
def test_guidance_that_blows_up(tmp_path: Path, particles: int) -> None:
    strong = ("method.sample.kappa1=1e39", "method.sample.kappa2=1e39", f"particles={particles}")
    done = tiny(tmp_path, *LIGHT, *strong)
    assert done.code == 1
    assert "2 of 2 images failed" in done.errors[0]
    assert "Traceback" not in done.err
    assert "0 (2 failed)" in done.out


def test_out_of_memory_halves_the_batch_and_changes_nothing_else(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, *flawed("one_at_a_time"), "n_images=3", "batch_size=3")
    assert (done.code, done.errors) == (0, [])
    said = [line for line in done.err.splitlines() if "out of memory" in line]
    assert len(said) == 2  # three images, then the larger half of them
    assert "3 images at once: going on with 1" in said[0]
    assert "100%" in done.err
    other = tmp_path / "one_by_one"
    other.mkdir()
    assert tiny(other, *LIGHT, "n_images=3", "batch_size=1").code == 0
    (halved,), (single,) = runs(tmp_path), runs(other)
    assert images(halved) == images(single)
    for name, record in repeatable(single).items():
        other = {"run_id": halved.name, "method": "one_at_a_time"}
        assert {**record, **other} == repeatable(halved)[name]


def test_memory_that_does_not_suffice_for_one_image(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, *flawed("never_enough"))
    assert done.code == 2
    (line,) = done.errors
    assert "particles=2: memory does not suffice for one image; use fewer" in line
    assert "Traceback" not in done.err


# -- the disk


def full_disk() -> None:
    """From now on pictures cannot be brought to the disk."""
    from ldsmc_bench import files

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").partition(".png")[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.os.fsync = fsync  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks the system which file a descriptor is")
def test_a_full_disk_ends_the_run_with_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    assert tiny(tmp_path, *LIGHT, "n_images=1", "batch_size=1").code == 0
    (run,) = runs(tmp_path)
    before = files(run)
    done = tiny(tmp_path, *LIGHT, "batch_size=1", first=full_disk)
    assert done.code == 2
    (line,) = done.errors
    assert "No space left on device" in line
    assert "free some space" in line
    assert "Traceback" not in done.err
    assert files(run) == before
    assert tiny(tmp_path, *LIGHT, "batch_size=1").code == 0
    assert before.items() <= files(run).items()
    assert len(records(run)) == 2

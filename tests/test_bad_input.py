"""What a user may get wrong: one clear line, an exit code that is not 0, and what is finished stays as it is."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.assets import check_digest, digest
from tests.commands import Done, command, files, images, records, repeatable, runs, start, tiny
from tests.samplers import UNLUCKY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bad commands are given: one finished run, a file and an empty folder."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").touch()
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("no picture")
    done = tiny(folder)
    assert done.code == 0, done.err
    return folder


NEAREST = {  # what is unknown, and what the line must offer
    "method=ldsm": "ldsmc",
    "task=freefrom": "freeform",
    "task=nonsense": "there are: box, denoise, freeform, gaussian_deblur, motion_deblur, random, sr4, sr8",
    "dataset=toyface": "toyfaces",
    "prior=ldm_toyface": "ldm_toyfaces",
    "partciles=3": "did you mean particles?",
    "kappa1=2": "did you mean method.sample.kappa1?",
    "method.sample.kapa1=2": "did you mean method.sample.kappa1?",
    "+method.sample.kapa1=2": "did you mean method.sample.kappa1?",
    "task.noisestd=1": "did you mean task.noise_std?",
    "dataset.root=pictures": "dataset=folder has it",
    "wandb.moed=online": "did you mean wandb.mode?",
    "experiment=nonsense": "n_images",
    "variant=papr": "did you mean paper?",
    "variant=foo": "there are: default, paper, released",
    "method.sample._target_=ldsmc_bench.sampling.ldsmc.smaple": "no such sampler",
}

WRONG = {  # a value, and what the line must say of it
    "particles=0": "must be a whole number of at least 1",
    "particles=1.5": "must be a whole number of at least 1",
    "particles=abc": "must be a whole number of at least 1",
    "particles=null": "must be a whole number of at least 1",
    "particles=true": "must be a whole number of at least 1",
    "particles=[1,2]": "must be a whole number of at least 1",
    "steps=0": "must be a whole number of at least 1",
    "steps=-3": "must be a whole number of at least 1",
    "steps=1001": "the prior's schedule has 1000 steps",
    "n_images=0": "must be a whole number of at least 1",
    "batch_size=0": "must be a whole number of at least 1",
    "seed=-1": "must be a whole number of at least 0",
    "shard=1": "with shards=1 the last is 0",
    "shard=2 shards=2": "with shards=2 the last is 1",
    "shards=0": "must be a whole number of at least 1",
    "precision=fp8": "must be fp64 or fp32 or tf32 or bf16",
    "device=cuda:7": "try device=auto",
    "device=gpu": "try device=auto",
    "device=null": "must be a word",
    "wandb.mode=maybe": "must be online or offline or disabled",
    "task.noise_std=-1": "must be a number of at least 0",
    "task.noise_std=nan": "must be a number of at least 0",
    "measurement.noise_in_hole=maybe": "must be true or false",
    "method.sample.rho=2": "must be a number from 0 to 1",
    "method.sample.kappa1=inf": "must be a number of at least 0",
    "method.sample.chain=foo": "must be paper or released",
    "method.sample.temperature=0": "must be sum or mean or a number",
    "task.operator.width=[30,20]": "must be a range",
    "dataset=folder": "dataset.root is not set",
    "dataset=folder dataset.root=nowhere": "no such folder",
    "dataset=folder dataset.root=empty": "no pictures",
    "particles=${nonsense}": "Interpolation key 'nonsense' not found",
    "~method.sample.eta": "is missing",
    "wandb=online": "set a key in it",
    "task=null": "takes the name of one of its choices",
    "results_dir=file": "cannot write",
    "results_dir=file/below": "cannot write",
    "particles=1,2": "add -m",
    "-m particles=1,,2": "cannot be read",
    "-m particles=[1,2": "cannot be read",
    "particles": "write key=value",
}


@pytest.mark.parametrize(("arguments", "said"), [*NEAREST.items(), *WRONG.items()])
def test_a_mistake_is_one_line_that_names_the_key_and_the_remedy(folder: Path, arguments: str, said: str) -> None:
    (run,) = [run for run in runs(folder) if (run / "summary.json").exists()]
    before = files(run)
    done = tiny(folder, *arguments.split())
    assert done.code in (1, 2)
    (line,) = done.errors
    key = arguments.removeprefix("-m ").split()[-1].partition("=")[0].lstrip("+~")
    assert ("sample.particles" if "nonsense}" in arguments else key) in line
    assert said in line
    assert done.err.rstrip().endswith(line), "nothing follows the line"
    assert "Traceback" not in done.err + done.out
    assert "PSNR" not in done.out
    assert files(run) == before


def test_one_bad_point_of_a_sweep_does_not_take_the_others_results(tmp_path: Path) -> None:
    done = tiny(tmp_path, "-m", "particles=0,1", "n_images=1")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "error: particles=0: must be a whole number of at least 1"
    (run,) = runs(tmp_path)
    assert [record["status"] for record in records(run).values()] == ["ok"]
    assert json.loads((run / "summary.json").read_text())["particles"] == 1
    assert "sheet: " in done.out


def test_an_unknown_choice_among_a_sweeps_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    done = tiny(tmp_path, "-m", "task=box,freefrom")
    assert done.code != 0
    assert done.errors == ["error: task=freefrom: no such task; did you mean freeform?"]
    assert not (tmp_path / "results" / "runs").exists()


def test_a_mistake_of_ours_shows_where_it_is_and_does_not_take_the_others_results(tmp_path: Path) -> None:
    targets = "ldsmc_bench.sampling.ldsmc.sample,tests.samplers.broken"
    done = tiny(tmp_path, "-m", f"method.sample._target_={targets}", "n_images=1", "particles=1")
    assert done.code == 1
    assert "Traceback" in done.err
    (line,) = done.errors
    assert "tests.samplers.broken: ZeroDivisionError: a mistake of a programmer (log: " in line
    assert "ZeroDivisionError" in (Path(line.rpartition("(log: ")[2].rstrip(")")) / "__main__.log").read_text()
    assert "PSNR" in done.out


# -- pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures, of which the second is damaged; `good.png` is what it should be, in as many bytes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(draw.integers(0, 256, (80, 70, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    whole = (folder / "b.png").read_bytes()
    (tmp_path / "good").write_bytes(whole)
    (folder / "b.png").write_bytes(bytes(len(whole)))
    return folder


def test_an_unreadable_picture_fails_alone_and_is_made_up_for_once_it_is_repaired(
    tmp_path: Path, pictures: Path
) -> None:
    overrides = ("dataset=folder", f"dataset.root={pictures}", "n_images=3", "batch_size=2")
    done = tiny(tmp_path, *overrides)
    assert done.code == 1
    assert f"{pictures / 'b.png'}: this image cannot be read" in done.err
    (line,) = done.errors
    assert "1 of 3 images failed" in line
    assert "2 (1 failed)" in done.out
    (run,) = runs(tmp_path)
    assert {name: record["status"] for name, record in records(run).items()} == {"a": "ok", "b": "failed", "c": "ok"}
    assert str(pictures / "b.png") in records(run)["b"]["error"]
    assert json.loads((run / "summary.json").read_text())["n_failed"] == 1
    finished = {name: file for name, file in files(run).items() if name[0] != "b"}

    shutil.copy(tmp_path / "good", pictures / "b.png")
    done = tiny(tmp_path, *overrides)
    assert (done.code, done.errors) == (0, [])
    assert {record["status"] for record in records(run).values()} == {"ok"}
    assert finished.items() <= files(run).items()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["n"], summary["n_failed"]) == (3, 0)


def test_a_folder_in_which_no_picture_can_be_read(tmp_path: Path, pictures: Path) -> None:
    for name in ("a", "c"):
        (pictures / f"{name}.png").write_bytes(b"")
    done = tiny(tmp_path, "dataset=folder", f"dataset.root={pictures}", "n_images=3")
    assert done.code == 1
    assert "3 of 3 images failed" in done.errors[0]
    assert "Traceback" not in done.err


# -- weights


def test_weights_that_are_missing_or_not_those_that_were_shipped(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match=r"weights\.safetensors: weights are missing; restore"):
        check_digest(path)
    path.write_bytes(b"the weights")
    (tmp_path / "digests.json").write_text(json.dumps({path.name: digest(path)}))
    check_digest(path)
    path.write_bytes(b"the weightz")
    with pytest.raises(UserError, match=r"weights\.safetensors: SHA-256 differs .* restore"):
        check_digest(path)


def with_damaged_weights(folder: Path) -> None:
    """The embedded assets are those in `folder`."""
    from ldsmc_bench.prior import assets, latent

    for module in (assets, latent):
        module.ASSETS = folder  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["missing", "truncated", "another"])
def test_a_run_with_damaged_weights(tmp_path: Path, damage: str) -> None:
    from functools import partial

    from ldsmc_bench.prior.assets import ASSETS

    for name in ("autoencoder", "latent"):
        shutil.copy(ASSETS / f"toyfaces_{name}.safetensors", tmp_path)
    path = tmp_path / "toyfaces_latent.safetensors"
    (tmp_path / "digests.json").write_text(json.dumps({path.name: digest(path)}))
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
        (tmp_path / "digests.json").unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = tiny(tmp_path, first=partial(with_damaged_weights, tmp_path))
    assert done.code == 1
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
    done = tiny(tmp_path, f"method.sample._target_=tests.samplers.{sampler}", "n_images=3", "batch_size=3")
    assert done.code == 1
    assert f"{UNLUCKY} failed: {reason}" in done.err.replace("\r", "\n")
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


@pytest.mark.parametrize("particles", [1, 2])
def test_guidance_that_blows_up(tmp_path: Path, particles: int) -> None:
    done = tiny(tmp_path, "method.sample.kappa1=1e39", "method.sample.kappa2=1e39", f"particles={particles}")
    assert done.code == 1
    assert "2 of 2 images failed" in done.errors[0]
    assert "Traceback" not in done.err
    assert "0 (2 failed)" in done.out


def test_out_of_memory_halves_the_batch_and_changes_nothing_else(tmp_path: Path) -> None:
    done = tiny(tmp_path, "method.sample._target_=tests.samplers.one_at_a_time", "n_images=3", "batch_size=3")
    assert (done.code, done.errors) == (0, [])
    said = [line for line in done.err.splitlines() if "out of memory" in line]
    assert len(said) == 2  # three images, then the larger half of them
    assert "3 images at once: going on with 1" in said[0]
    assert "100%" in done.err
    other = tmp_path / "one_by_one"
    other.mkdir()
    assert tiny(other, "n_images=3", "batch_size=1").code == 0
    (halved,), (single,) = runs(tmp_path), runs(other)
    assert images(halved) == images(single)
    for name, record in repeatable(single).items():
        assert {**record, "run_id": halved.name} == repeatable(halved)[name]


def test_memory_that_does_not_suffice_for_one_image(tmp_path: Path) -> None:
    done = tiny(tmp_path, "method.sample._target_=tests.samplers.never_enough")
    assert done.code == 1
    (line,) = done.errors
    assert "particles=2: memory does not suffice for one image; use fewer" in line
    assert "Traceback" not in done.err


# -- the disk


def full_disk() -> None:
    """From now on pictures cannot be brought to the disk."""
    from ldsmc_bench.records import publish

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").partition(".png")[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    publish.os.fsync = fsync  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks the system which file a descriptor is")
def test_a_full_disk_ends_the_run_with_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    assert tiny(tmp_path, "n_images=1", "batch_size=1").code == 0
    (run,) = runs(tmp_path)
    before = files(run)
    done = tiny(tmp_path, "batch_size=1", first=full_disk)
    assert done.code == 1
    (line,) = done.errors
    assert "No space left on device" in line
    assert "free some space" in line
    assert "Traceback" not in done.err
    assert files(run) == before
    assert tiny(tmp_path, "batch_size=1").code == 0
    assert before.items() <= files(run).items()
    assert len(records(run)) == 2


def test_the_status_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done: Done = start(tmp_path, "--results-dir", "nowhere", module="ldsmc_bench.status").done()
    assert done.code == 2
    assert len(done.errors) == len(done.err.splitlines()) == 1
    assert "nowhere" in done.errors[0]


def test_help_and_info_are_no_failures(tmp_path: Path) -> None:
    assert command(tmp_path, "--cfg", "job").code == 0
    assert command(tmp_path, "--help").code == 0

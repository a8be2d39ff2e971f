"""Two stores made apart become one: `publish` packs runs, `merge` takes them in or refuses what contradicts."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import ldsmc_bench as lb
from ldsmc_bench.commands import merge, publish
from ldsmc_bench.commands.archive import digest
from ldsmc_bench.records.status import statuses
from tests.commands import tiny


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("ours"), "method=latent_dps", "n_images=2")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the same run on one image more, two draws of it, and another run."""
    folder = tmp_path_factory.mktemp("theirs")
    _made(folder, "method=latent_dps", "n_images=3", "draws=2")
    return _made(folder, "method=psld", "n_images=2")


def _made(folder: Path, *arguments: str) -> Path:
    done = tiny(folder, *arguments)
    assert done.code == 0, done.err
    return folder / "results"


@pytest.fixture
def here(ours: Path, tmp_path: Path) -> Path:
    """A store of its own that holds our run."""
    packed = tmp_path / "ours.zip"
    assert publish.main([f"out={packed}", f"results_dir={ours}"]) == 0
    assert merge.main([str(packed), f"results_dir={tmp_path / 'results'}"]) == 0
    return tmp_path / "results"


@pytest.fixture
def packed(theirs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "theirs.zip"
    assert publish.main([f"out={path}", f"results_dir={theirs}", "by=Ada", "pictures=1"]) == 0
    return path


def test_the_merged_store_has_the_rows_of_both(here: Path, theirs: Path, packed: Path) -> None:
    assert merge.main([str(packed), f"results_dir={here}"]) == 0
    rows, expected = (lb.load_results(one).sort_values(["run_id", "draw", "image_id"]) for one in (here, theirs))
    assert len(rows) == 2 * 3 + 2
    keys = ["run_id", "draw", "image_id", "psnr"]  # theirs are of the same code and machine
    assert rows[keys].to_numpy().tolist() == expected[keys].to_numpy().tolist()
    assert all(one.complete for one in statuses(here)) and {one.done for one in statuses(here)} == {6, 2}
    (noted,) = [json.loads(path.read_text()) for path in here.glob("runs/*psld*/merged.jsonl")]
    assert noted == {"by": "Ada", "sha256": digest(packed.read_bytes()), "rows": 2}


def test_a_second_time_adds_nothing(here: Path, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge.main([str(packed), f"results_dir={here}"]) == 0
    before = _files(here)
    capsys.readouterr()
    assert merge.main([str(packed), f"results_dir={here}"]) == 0
    assert capsys.readouterr().out.count("all of it is here") == 2
    assert _files(here) == before


def test_the_same_command_finds_the_merged_run(here: Path, theirs: Path, tmp_path: Path) -> None:
    assert publish.main([f"out={tmp_path / 'whole.zip'}", f"results_dir={theirs}"]) == 0
    assert merge.main([str(tmp_path / "whole.zip"), f"results_dir={here}"]) == 0
    before = {path: path.stat().st_mtime_ns for path in here.glob("runs/*/records/*.json")}
    assert tiny(here.parent, "method=latent_dps", "n_images=3").code == 0
    assert {path: path.stat().st_mtime_ns for path in here.glob("runs/*/records/*.json")} == before


def test_an_archive_has_the_same_bytes_each_time(theirs: Path, packed: Path, tmp_path: Path) -> None:
    assert publish.main([f"out={tmp_path / 'again.zip'}", f"results_dir={theirs}", "by=Ada", "pictures=1"]) == 0
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        pictures = [name for name in archive.namelist() if "/images/" in name]
    assert len(pictures) == 3  # of the first image: two draws of one run, one of the other


def test_a_folder_takes_an_archive_a_run(here: Path, theirs: Path, tmp_path: Path) -> None:
    assert publish.main([f"out={tmp_path / 'board'}", f"results_dir={theirs}", "truths=false"]) == 0
    archives = sorted((tmp_path / "board").glob("*.zip"))
    assert [path.stem for path in archives] == sorted(path.name for path in (theirs / "runs").glob("[!.]*"))
    assert merge.main([str(tmp_path / "board"), f"results_dir={here}"]) == 0
    assert len(list(here.glob("problems/*/truth/*.png"))) == 2  # ours


def test_what_contradicts_is_refused_and_nothing_is_written(
    here: Path, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = here.glob("runs/latent_dps-*/records/test-000001.json")
    changed = json.loads(record.read_text())
    changed["metrics"]["psnr"] *= 1.2
    record.write_text(json.dumps(changed))
    before = _files(here)
    assert merge.main([str(packed), f"results_dir={here}"]) == 2
    error = capsys.readouterr().err
    assert "contradicts" in error and "test-000001: psnr" in error
    assert _files(here) == before


def test_of_a_known_posterior_the_scores_of_more_draws_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are others than those of fewer, which is no contradiction."""
    known = ("method=dps", "task=linear", "dataset=mixture", "n_images=1", "steps=2")
    for name, draws in {"few": 60, "many": 200}.items():
        (tmp_path / name).mkdir()
        done = tiny(tmp_path / name, *known, f"draws={draws}")
        assert done.code == 0, done.err
        assert publish.main([f"out={tmp_path / name}.zip", f"results_dir={tmp_path / name / 'results'}"]) == 0
    expected = _shown(tmp_path / "many")
    for into, archive, said in (("few", "many", "1 of 1 rows added"), ("many", "few", "all of it is here")):
        capsys.readouterr()
        assert merge.main([f"{tmp_path / archive}.zip", f"results_dir={tmp_path / into / 'results'}"]) == 0
        assert said in capsys.readouterr().out
    assert len(expected) == 4 and _shown(tmp_path / "few") == _shown(tmp_path / "many") == expected
    assert all(one.complete for one in statuses(tmp_path / "few" / "results"))


def _shown(folder: Path) -> dict[str, bytes]:
    kinds = ("records/[!.]*", "images/[!.]*", "summary.json", "requested.json")
    paths = [path for kind in kinds for path in folder.glob(f"results/runs/*/{kind}")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _forged(change: Callable[[dict[str, bytes]], None], path: Path) -> None:
    """Change the files of an archive, and its manifest with them."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    change(files)
    manifest["files"] = {name: digest(data) for name, data in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            archive.writestr(name, data)


def _outside(files: dict[str, bytes]) -> None:
    files["runs/../../evil.json"] = b"{}"


def _renamed(files: dict[str, bytes]) -> None:
    for name in [name for name in files if "runs/psld" in name]:
        files[name.replace("runs/psld", "runs/best")] = files.pop(name)


@pytest.mark.parametrize(("change", "word"), [(_outside, "evil.json"), (_renamed, "is not the id")])
def test_a_forged_archive_is_refused(
    change: Callable[[dict[str, bytes]], None],
    word: str,
    here: Path,
    packed: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _forged(change, packed)
    before = _files(here.parent)
    assert merge.main([str(packed), f"results_dir={here}"]) == 2
    assert word in capsys.readouterr().err
    assert _files(here.parent) == before


def test_a_damaged_archive_is_refused(here: Path, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = packed.read_bytes()
    middle = len(data) // 2
    for broken in (data[:middle], data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :], b""):
        packed.write_bytes(broken)
        assert merge.main([str(packed), f"results_dir={here}"]) == 2
        assert "theirs.zip" in capsys.readouterr().err


def test_an_unfinished_or_unknown_run_is_named(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([f"out={tmp_path / 'x.zip'}", f"results_dir={ours}", "runs=latent_dp"]) == 2
    assert "no such run" in capsys.readouterr().err


def test_a_run_with_a_damaged_configuration_is_left_out(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody could merge it, and it would keep the other runs of its archive out."""
    shutil.copytree(theirs, copy := tmp_path / "copy")
    bad, good = sorted(path.name for path in (copy / "runs").iterdir() if path.name[0] != ".")
    (copy / "runs" / bad / "config.yaml").write_text("a: [")
    assert publish.main([f"out={tmp_path / 'x.zip'}", f"results_dir={copy}"]) == 0
    assert f"command: {bad}\n" in capsys.readouterr().err
    assert merge.main([str(tmp_path / "x.zip"), f"results_dir={tmp_path / 'other'}"]) == 0
    assert [path.name for path in (tmp_path / "other" / "runs").iterdir()] == [good]


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".view" not in path.parts
    }

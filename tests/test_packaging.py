"""What a wheel and a source distribution hold, and that commands of an installed wheel run in any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the build backend is absent: make setup installs it")
from hatchling.builders.plugin.interface import BuilderInterface
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
FOLDERS = ("ldsmc_bench", "baselines", "hydra_plugins", "conf")
SMALL = ("particles=1", "steps=2", "n_images=1", "wandb.mode=disabled")
FILES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")


def copied(to: Path, *left_out: str) -> Path:
    """The sources in another folder."""
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__", "local.yaml", *left_out)
        )
    for file in FILES:
        shutil.copy(ROOT / file, to)
    return to


def included(builder: BuilderInterface) -> set[str]:
    return {file.distribution_path for file in builder.recurse_included_files()}


def test_both_hold_all_sources_and_nothing_private(tmp_path: Path) -> None:
    sources = copied(tmp_path, "*.safetensors")
    public = {
        str(path.relative_to(sources))
        for folder in FOLDERS
        for path in (sources / folder).rglob("*.*")
        if path.is_file()
    }
    (sources / "conf" / "local.yaml").write_text("partition: mine\n")
    (sources / "conf" / "__pycache__").mkdir()
    (sources / "conf" / "__pycache__" / "left.pyc").touch()
    assert {"conf/config.yaml", "conf/dataset/ids/ffhq_test.txt", "conf/hydra/launcher/slurm.yaml"} < public
    assert included(SdistBuilder(str(sources))) >= public
    assert not {path for path in included(SdistBuilder(str(sources))) if "local.yaml" in path or path.endswith(".pyc")}
    assert included(WheelBuilder(str(sources))) == {
        f"ldsmc_bench/{path}" if path.startswith(("conf/", "baselines/")) else path for path in public
    }


@pytest.mark.slow
def test_commands_of_a_wheel_from_the_source_distribution_run_in_another_folder(tmp_path: Path) -> None:
    sources, made, installed, elsewhere = (tmp_path / name for name in ("sources", "made", "installed", "elsewhere"))
    sources.mkdir()
    elsewhere.mkdir()

    def python(*arguments: str, folder: Path = elsewhere, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python("-m", "hatchling", "build", "--target", "sdist", "--directory", str(made), folder=copied(sources))
    (archive,) = made.iterdir()
    python("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(archive))
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(installed)

    def command(*arguments: str) -> str:
        return python(*arguments, PYTHONPATH=str(installed))

    # The last line is what the console script does.
    script = """
from ldsmc_bench.files import CONF; print(CONF)
import baselines.dps; print(baselines.dps.__file__)
from ldsmc_bench.__main__ import main; main()"""
    conf, dps, *table = command(
        "-c", script, "particles=1", "steps=2", "n_images=1", "wandb.mode=disabled"
    ).splitlines()
    assert conf == str(installed / "ldsmc_bench" / "conf")
    assert dps == str(installed / "ldsmc_bench" / "baselines" / "dps.py")
    assert any("perceptual" in line for line in table) and (elsewhere / "results" / "runs").is_dir()
    assert "toyfaces: results/tables/toyfaces." in command("-m", "ldsmc_bench.report.tables")

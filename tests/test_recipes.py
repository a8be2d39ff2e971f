"""The recipes of containers: clean by their linters, and with all files that the package is built from."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_packaging import FILES, FOLDERS, ROOT

DOCKER, APPTAINER = ROOT / "Dockerfile", ROOT / "apptainer.def"


def copied_by_docker() -> dict[str, str]:
    """The sources of each COPY, by the place in the image."""
    found = {}
    for *sources, target in (line.split()[1:] for line in DOCKER.read_text().splitlines() if line.startswith("COPY ")):
        found |= {f"{target}{source}" if target.endswith("/") else target: source for source in sources}
    return found


def copied_by_apptainer() -> dict[str, str]:
    section = re.search(r"^%files\n((?:    .+\n)+)", APPTAINER.read_text(), re.MULTILINE)
    assert section
    return {target: source for source, target in (line.split() for line in section[1].splitlines())}


def test_hadolint_finds_nothing() -> None:
    binary = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if binary is None:
        pytest.skip("hadolint is absent: make setup installs it")
    done = subprocess.run([binary, "--no-color", str(DOCKER)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_apptainers_recipe_is_read_as_meant() -> None:
    parse = pytest.importorskip("spython.main.parse.parsers", reason="spython is absent: make setup installs it")
    recipe = parse.get_parser("singularity")(str(APPTAINER)).recipe["spython-base"]
    assert recipe.fromHeader == re.search(r"^FROM (\S+)$", DOCKER.read_text(), re.MULTILINE)[1]  # type: ignore[index]
    assert 'exec ldsmc-bench "$@"' in recipe.cmd


@pytest.mark.parametrize("copied", [copied_by_docker, copied_by_apptainer])
def test_all_that_the_package_is_built_from_goes_in(copied: Callable[[], dict[str, str]]) -> None:
    assert copied() == {f"/source/{name}": name for name in (*FILES, *FOLDERS)}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == {*FILES, *FOLDERS}


def test_their_python_and_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for recipe in (DOCKER.read_text(), APPTAINER.read_text()):
        minor = re.search(r"python:3\.(\d+)-", recipe)
        extras = re.search(r"pip install --no-cache-dir '/source\[(.+)\]'", recipe)
        assert minor and extras
        assert project["requires-python"].startswith(">=3.11") and int(minor[1]) in (11, 12, 13)
        assert extras[1].split(",") == ["text", "tune", "physics"]
        assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()

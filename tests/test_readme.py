"""README's ten minutes: a method of one's own, exactly as it says, in a folder outside the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The folder with README's two files."""
    (tmp_path / "method").mkdir()
    (tmp_path / "mine.py").write_text(block("python"))
    (tmp_path / "method" / "mine.yaml").write_text(block("yaml"))
    return tmp_path


def block(language: str, beginning: str = "") -> str:
    """The one fenced block of a language in README's section, or the one that begins so."""
    section = (ROOT / "README.md").read_text().partition("## Add your own method\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (text,) = (text for name, text in blocks if name == language and text.startswith(beginning))
    return text


def run(command: str, folder: Path, **environment: str) -> str:
    python, *arguments = command.split()
    assert python == "python"
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


def test_a_method_of_ones_own_stands_in_the_table_beside_ldsmc(mine: Path) -> None:
    out = run(block("", "python -m ldsmc_bench"), mine)
    assert re.search(r"^ *ldsmc .* 2$", out, re.MULTILINE) and re.search(r"^ *mine .* 2$", out, re.MULTILINE)
    assert len(list((mine / "results" / "runs").glob("mine-box-toyfaces-*/images/*.png"))) == 2


@pytest.mark.slow
def test_a_method_of_ones_own_passes_the_conformance_suite(mine: Path) -> None:
    command = block("", "python -m pytest").replace("/path/to/that/folder", str(mine))
    assert " passed" in run(command, ROOT, PYTHONPATH=str(mine))

"""What all commands share: how they end, and what they make of an output that cannot take their text."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ldsmc_bench.cli import entry
from ldsmc_bench.errors import UserError

LINES = 3000  # more than a buffer holds
Take = Callable[..., None]


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Iterator[Take]:
    """Let a stream be a descriptor."""
    taken = []

    def stand_in(name: str, descriptor: int, encoding: str = "utf-8") -> None:
        taken.append(io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w")), encoding))
        monkeypatch.setattr(sys, name, taken[-1])

    yield stand_in
    for stream in taken:
        stream.close()


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def wordy() -> int:
    for number in range(LINES):
        print(number, "±" * 10)
    print("progress", file=sys.stderr)
    return 1


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_a_closed_pipe_changes_nothing(take: Take, closed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name in closed:
        take(name, closed_pipe())
    assert entry(wordy)() == 1
    assert "error" not in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_under_the_text_is_one_line_and_the_work_goes_on(
    take: Take, capsys: pytest.CaptureFixture[str]
) -> None:
    take("stdout", os.open("/dev/full", os.O_WRONLY))
    assert entry(lambda: print("a table"))() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: stdout: cannot be written (No space left on device)")
    assert entry(wordy)() == 1


def test_a_terminal_that_knows_no_greek_is_shown_escapes(take: Take, tmp_path: Path) -> None:
    take("stdout", os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT), "ascii")
    assert entry(lambda: print("0.5 ± 0.1 of β-VAE, \udcff.png"))() == 0
    assert (tmp_path / "out").read_text() == "0.5 \\xb1 0.1 of \\u03b2-VAE, \\udcff.png\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("seed=x: must be\na number"), 2, "error: seed=x: must be a number"),
        (PermissionError(13, "Permission denied", "a.json"), 2, "error: a.json: cannot be read or written (Permission"),
        (OSError(28, "No space left on device"), 2, "error: a file: cannot be read or written (No space left"),
        (OSError("odd"), 2, "error: a file: cannot be read or written (odd)"),
        (KeyboardInterrupt(), 1, "stopped; the same command goes on from here"),
    ],
)
def test_a_mistake_is_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    assert entry(main)() == code
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith(line)


def test_a_mistake_of_ours_shows_where_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        entry(lambda: 1 // 0)()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("~/x", "H/x"),
        ("--out=~/x", "--out=H/x"),
        ("results_dir='~/x'", "results_dir='H/x'"),
        ("+dataset.root=~/a,~/b", "+dataset.root=H/a,H/b"),
        ("results_dir='~/a','~/b'", "results_dir='H/a','H/b'"),
        ("~task.operator.size", "~task.operator.size"),
        ("~hydra/launcher", "~hydra/launcher"),
        ("name=a~/b", "name=a~/b"),
    ],
)
def test_the_users_folder_is_known_wherever_a_value_begins(
    given: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "H")
    monkeypatch.setattr(sys, "argv", ["command", given])
    entry(lambda: None)()
    assert sys.argv[1] == taken


def test_a_notebooks_backend_is_of_no_use_to_a_command() -> None:
    code = "import ldsmc_bench; from matplotlib import pyplot; print(pyplot.get_backend())"
    for backend in ("module://matplotlib_inline.backend_inline", "nonsense"):
        environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip().lower()) == (0, "agg"), done.stderr

"""One way to write options for all commands, the words of the command line, and completion in a shell."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ldsmc_bench.cli import Options
from ldsmc_bench.commands import COMMANDS as WORDS
from ldsmc_bench.commands import calibration, find_command, help, leaderboard, power, rescore, status
from ldsmc_bench.commands.run import flags_first
from ldsmc_bench.errors import UserError
from ldsmc_bench.report.figures import __main__ as figures
from ldsmc_bench.report.figures import exactness
from ldsmc_bench.report.page import __main__ as page
from ldsmc_bench.report.tables import __main__ as tables
from ldsmc_bench.tracking import __main__ as wandb
from tests.commands import here

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "status": status.main,
    "tables": tables.main,
    "figures": figures.main,
    "page": page.main,
    "power": power.main,
    "rescore": rescore.main,
    "exactness": exactness.main,
    "leaderboard": leaderboard.main,
    "calibration": calibration.main,
    "wandb": lambda arguments: wandb.main([*arguments, "a-run"]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("spelling", ["--results-dir {}", "--results-dir={}", "results_dir={}"])
def test_the_results_folder_is_spelled_alike(command: str, spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS[command](spelling.format("nowhere").split(" ")) in (1, 2)
    assert "results_dir=nowhere cannot be read" in capsys.readouterr().err


def test_other_arguments_stay_as_they_are() -> None:
    assert flags_first(["-m", "--results-dir", "a", "seed=0,1", "--results-dir=b=c"]) == [
        "-m", "seed=0,1", "results_dir=a", "results_dir=b=c",
    ]  # fmt: skip


REMEDIES = {"make run": ["status", "tables", "figures", "page", "power"]}
REMEDIES |= {"experiment=leaderboard -m": ["leaderboard"], "draws=16": ["calibration"]}


@pytest.mark.parametrize(("remedy", "command"), [(key, one) for key, commands in REMEDIES.items() for one in commands])
@pytest.mark.parametrize("begun", [False, True])
def test_before_any_run_the_remedy_is_named(
    remedy: str,
    command: str,
    begun: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if begun:
        (tmp_path / "results" / "runs").mkdir(parents=True)
    assert COMMANDS[command]([]) == (0 if command == "status" else 2)
    said = capsys.readouterr()
    [line] = (said.out + said.err).splitlines()
    assert line.removeprefix("error: ").startswith("no run") and line.endswith(remedy)


def example() -> Options:
    options = Options("example", None, results_dir=True)
    options.add_argument("names", nargs="*")
    options.add_argument("--out-file", type=Path)
    options.add_argument("--json", action="store_true")
    options.add_argument("--faces", type=int, default=1)
    return options


@pytest.mark.parametrize(
    "arguments",
    [
        "prior=a out_file=b=c json=true faces=3 n",
        "prior=a --out-file b=c --json --faces 3 n",
        "--json prior=a n faces=3 --out-file=b=c",
    ],
)
def test_options_are_written_as_settings_of_a_run_or_as_flags(arguments: str) -> None:
    found = example().read(arguments.split())
    assert vars(found) == {
        "names": ["prior=a", "n"], "out_file": Path("b=c"), "json": True, "faces": 3, "results_dir": Path("results"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("json=maybe", "json=maybe: must be true or false"),
        ("out_file=", "out_file=: give it a value, or leave it out"),
        ("--faces=", "--faces=: give it a value, or leave it out"),
        ("", "'': give it a value, or leave it out"),  # faces "$N" without N
        ("faces=x", "argument --faces: invalid int value: 'x'; ldsmc-bench example --help shows the options"),
        ("--face-size=3", "--face-size=3: ldsmc-bench example has no such option; did you mean faces?"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(argument: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        example().read([argument])
    assert str(caught.value) == line
    assert not example().read(["json=false"]).json


def test_help_shows_options_as_they_are_written() -> None:
    text = example().format_help()
    assert "usage: ldsmc-bench example names [key=value ...]" in text
    assert "out_file=OUT_FILE" in text and "json=true" in text and "--json" not in text


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_a_command(word: str) -> None:
    assert callable(find_command(word))


def test_a_bare_first_word_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert here("statsu") == 2
    assert capsys.readouterr().err.startswith("error: statsu: no such command; did you mean status?; settings of a run")
    assert here("status", "results_dir=nowhere") == 2
    assert capsys.readouterr().err.startswith("error: results_dir=nowhere cannot be read")
    assert here("--version") == 0
    assert capsys.readouterr().out == "ldsmc_bench 0.1.0\n"


COMPLETED: list[tuple[str, list[str]]] = [
    ("stat", ["status"]),
    ("met", ["method="]),
    ("method=latent_", ["latent_daps", "latent_dps"]),
    ("status results", ["results_dir="]),
    ("task=sr", ["sr16", "sr4", "sr8"]),
    ("task=box,fr", ["box,freeform"]),
    ("seed=0 -m task=box,sr", ["box,sr16", "box,sr4", "box,sr8"]),
    ("precision=b", ["bf16"]),
    ("n_im", ["n_images="]),
    ("wandb.mode=of", ["offline"]),
    ("n_images=", []),
]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_words_keys_and_choices(shell: str, tmp_path: Path) -> None:
    """As bash calls the function, with words of readline, which end at `=`; zsh's are whole, and it chooses itself."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is absent")
    (tmp_path / "completion").write_text(help.completion(shell))
    script = "source ./completion\n" + ("COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:'\n" if shell == "bash" else "")
    for line, _ in COMPLETED:
        words = (line.replace("=", " = ") if shell == "bash" else line).split()
        script += f"""
            COMP_LINE="ldsmc-bench {line}" COMP_POINT={len("ldsmc-bench " + line)} COMP_CWORD={len(words)}
            _ldsmc_bench
            echo "${{COMPREPLY[@]}}"
        """
    home = os.environ | {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}  # of what zsh keeps of its completion
    done = subprocess.run([shell, "-c", script], cwd=tmp_path, env=home, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for (line, found), said in zip(COMPLETED, done.stdout.splitlines(), strict=True):
        if shell == "zsh":
            key, equals, _ = (word := line.split()[-1]).rpartition("=")
            found, said = [key + equals + one for one in found], " ".join(w for w in said.split() if w.startswith(word))
        assert said.split() == found

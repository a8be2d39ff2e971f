"""README and the pages beside the code: every example works, every link leads somewhere, every command is accepted.

A Python or YAML example that begins with a comment `# path` is a file of one folder, in which the others are tried.
"""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ldsmc_bench import __version__
from ldsmc_bench.cli import Options
from ldsmc_bench.commands import find_command
from ldsmc_bench.commands.run import flags_first
from ldsmc_bench.config import validate
from ldsmc_bench.files import CONF
from ldsmc_bench.report.tables.layout import load_layouts
from ldsmc_bench.scoring.protocols import PROTOCOLS, Protocol
from ldsmc_bench.speed.setup import expand_sweep
from tests.commands import TINY, configured, here, records, runs
from tests.test_house import CORE, EXTRAS, WORLDS

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "ldsmc_bench"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / folder / "README.md" for folder in ("conf", "results", "baselines", "ldsmc_bench")),
    *(
        HOUSE / room / "README.md"
        for room in ("calibration", "cluster", "checkpoints", "speed", "mixture", "toyfaces/weights")
    ),
    HOUSE / "sampling" / "LABELS.md",
]
LANGUAGES = {"python", "yaml", "sh", "text", "bibtex"}
OTHERS = ("cd", "export", "git", "pip", "scancel", "tar", "wandb")  # commands that are not ours to try


class Block(NamedTuple):
    """A fenced example."""

    page: Path
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The path in its first line, if it is a file."""
        found = re.match(r"# ([\w/]+\.\w+)\n", self.text)
        return found[1] if found else None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


BLOCKS = [
    Block(page, *found)
    for page in PAGES
    for found in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
]
FENCED = [
    (block.page, line.split("  #")[0].strip())
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
]
INLINE = [  # in a sentence or a cell of a table
    (page, command)
    for page in PAGES
    for command in re.findall(r"`((?:\w+=\S+ )*(?:python -m ldsmc_bench |make )[^`<{]+)`", page.read_text("utf-8"))
]
COMMANDS = [pytest.param(page, command, id=f"{name(page)}: {command}") for page, command in [*FENCED, *INLINE]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a user who has copied all examples that are files, as the current folder."""
    made = tmp_path_factory.mktemp("mine")
    for block in BLOCKS:
        if block.file:
            assert not (made / block.file).exists(), f"two examples are called {block.file}"
            (made / block.file).parent.mkdir(parents=True, exist_ok=True)
            (made / block.file).write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.syspath_prepend(str(made))
        added = yaml.safe_load((made / "conf" / "metrics.yaml").read_text())
        for metric, fields in added.items():
            patch.setitem(PROTOCOLS, metric, Protocol(metric, **fields | {"range": tuple(fields["range"])}))
        yield made


def test_every_example_has_a_language() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", text)
    local = [one or other for one, other in links if not (one or other).startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []
    headings = {
        re.sub(r"[^\w -]", "", found).replace(" ", "-").lower() for found in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_is_accepted(page: Path, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(re.sub(r"^(\w+=\S+ )+", "", command))
    ours = words[:3] == ["python", "-m", "ldsmc_bench"] or words[0] == "ldsmc-bench"
    arguments = words[1 if words[0] == "ldsmc-bench" else 3 :]
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:3] == ["python", "-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
    elif not ours:
        assert words[0] in OTHERS
    elif re.fullmatch(r"[a-z][a-z-]*", arguments[0]):
        accept_options(arguments, monkeypatch)
    elif page == HOUSE / "README.md":
        assert here(*arguments, *TINY) == 0
    elif not {"--help", "--version", "--completion"} & set(arguments):
        accept_run(arguments)


def accept_run(arguments: list[str]) -> None:
    """Check the first run of a command as it is checked before it starts."""
    overrides = [one for one in flags_first(arguments) if "=" in one and not one.startswith(("hydra/", "-"))]
    own = [f"hydra.searchpath=[file://{Path.cwd()}]"] if "--config-dir" in arguments else []
    validate(configured(*expand_sweep(overrides)[0], *own))


def accept_options(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the options of a sub-command, and go no further."""
    word, *options = arguments
    if word == "preflight" or (
        word == "exactness" and any(one.startswith("method=") for one in options)
    ):  # which take the arguments of a run
        return accept_run([one for one in options if "estimate" not in one])
    read = Options.read

    def read_only(self: Options, arguments: list[str] | None = None) -> None:
        read(self, arguments)
        raise SystemExit(0)

    monkeypatch.setattr(Options, "read", read_only)
    monkeypatch.setattr(sys, "argv", [word, *options])
    with pytest.raises(SystemExit) as end:
        find_command(word)()
    assert end.value.code == 0
    return None


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "python" and not block.file],
    ids=lambda block: f"{name(block.page)}: {block.text.splitlines()[0]}",
)
def test_every_python_example_runs(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (folder / "example.py").write_text(block.text.replace("[:64]", "[:2]"))  # images: fewer do here
    runpy.run_path(str(folder / "example.py"))


def test_every_other_yaml_example_is_one(folder: Path) -> None:
    launcher = yaml.safe_load((CONF / "hydra" / "launcher" / "slurm.yaml").read_text())
    assert set(yaml.safe_load((folder / "conf" / "local.yaml").read_text())) <= set(launcher)
    assert load_layouts(folder / "my_tables")
    for block in BLOCKS:
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)


def test_examples_reach_the_results(folder: Path) -> None:
    """After the commands above: each has its run, and the user's metric a value in it."""
    found = {run.name.rpartition("-")[0]: run for run in runs(folder)}
    assert {"mine-box-toyfaces", "latent_dps-box-discs", "dps-shade-toyfaces", "dps-denoise-toyfaces"} <= set(found)
    rows = records(found["dps-shade-toyfaces"])
    assert rows and all(0 <= row["metrics"]["mae"] <= 1 for row in rows.values())


def test_the_map_shows_every_room_of_the_law() -> None:
    text = (HOUSE / "README.md").read_text("utf-8")
    assert f"`{' '.join(CORE)}`" in text and f"`{' '.join(EXTRAS)}`" in text
    folders = {path.parent.name for path in HOUSE.glob("*/*.py")} - {"shims"}
    assert [room for room in (*folders, *WORLDS) if f"{room}/`" not in text] == []


def test_readme_is_short_and_names_the_version() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert f"version = {{{__version__}}}" in text
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == __version__
    assert len(text.splitlines()) <= 150
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in prose.splitlines() if line and not line.startswith(("|", "#", "!", "<"))]
    sentences = re.split(r"(?<=[.?!])\s+", " ".join(lines))
    assert sum(len(sentence.split()) for sentence in sentences) / len(sentences) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["test_conformance.py --method mine", "test_prior_conformance.py --prior my_flow"])
def test_a_method_or_prior_of_ones_own_passes_the_conformance_suite(folder: Path, suite: str) -> None:
    (command,) = (values[1] for values, *_ in COMMANDS if "/path/to/that/folder" in values[1] and suite in values[1])
    done = subprocess.run(
        [sys.executable, *command.replace("/path/to/that/folder", str(folder)).split()[1:]],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr

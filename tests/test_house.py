"""The law of the house, read from the imports: core, worlds and extras (ldsmc_bench/README.md draws them)."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from ldsmc_bench.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ldsmc_bench"
# Each room imports those before it alone.
CORE = (
    "text",
    "errors",
    "guard",
    "files",
    "noise",
    "problem",
    "prior",
    "sampling",
    "scoring",
    "records",
    "config",
    "running",
)
CORE += ("cli", "run")
WORLDS = ("toyfaces", "mixture", "photos", "checkpoints", "physics", "calibration", "baselines")
FREE = ("__main__", "__init__", "commands", "shims")  # the command line knows every room
EXTRAS = ("report", "tracking", "progress", "cluster", "fetch", "replay", "speed", "tuning")
LINES, CORE_CODE, FUNCTION, PARAMETERS, TOP = 29_970, 4_000, 110, 20, 10


class Import(NamedTuple):
    """An import of one room by a file of another."""

    file: str
    room: str
    other: str


def sources() -> list[Path]:
    return [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "baselines").glob("*.py"))]


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def room_of(module: str) -> str:
    parts = module.split(".")
    return "baselines" if parts[0] == "baselines" else parts[1] if len(parts) > 1 else "__init__"


@cache
def imports() -> list[Import]:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources()}
    found = []
    for path in sources():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in nodes(path):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0]
                in (
                    "ldsmc_bench",
                    "baselines",
                )
            ):
                targets = [f"{node.module}.{name.name}" for name in node.names]
                for target in (one if one in names else node.module for one in targets):
                    if room_of(target) != room_of(module) and path.name != "__main__.py":  # a command
                        found.append(Import(str(path.relative_to(ROOT)), room_of(module), room_of(target)))
    return found


def test_every_room_is_known() -> None:
    assert {room_of(one.other) for one in imports()} | {one.room for one in imports()} <= {
        *CORE,
        *WORLDS,
        *EXTRAS,
        *FREE,
    } | {"__init__"}


def test_core_imports_core_downwards() -> None:
    assert [one for one in imports() if one.room in CORE and one.other not in CORE[: CORE.index(one.room)]] == []


def test_worlds_and_extras_keep_to_themselves() -> None:
    assert [one for one in imports() if one.room in WORLDS and one.other not in (*CORE, *WORLDS)] == []
    assert [one for one in imports() if one.room in EXTRAS and one.other not in (*CORE, *WORLDS, "__init__")] == []


@pytest.mark.parametrize("world", [*WORLDS, "ffhq", "imagenet"])
def test_no_core_file_names_a_world(world: str) -> None:
    """In code, that is: examples in docstrings and comments may."""
    named = []
    for path in sources():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if room_of(module) in CORE:
            docs = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
            texts = [n for n in nodes(path) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            named += [f"{path}: {n.value}" for n in texts if id(n) not in docs and re.search(rf"\b{world}\b", n.value)]
    own = (  # whose functions are the project's own; a stream of noise
        f"{PACKAGE / 'records' / 'identity.py'}: baselines",
        f"{PACKAGE / 'running' / 'prediction_error.py'}: calibration",
    )
    assert [line for line in named if line not in own] == []


def code_lines(path: Path) -> int:
    """Lines without blanks, comments, docstrings and imports."""
    text = path.read_text("utf-8")
    out: set[int] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.split("\n"), 1)
    return sum(1 for number, line in lines if line.strip() and not line.strip().startswith("#") and number not in out)


def test_sizes() -> None:
    core = [path for path in sources() if room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) in CORE]
    assert sum(map(code_lines, core)) <= CORE_CODE
    assert sum(len(path.read_text("utf-8").splitlines()) for path in sources()) <= LINES
    assert len(list(PACKAGE.glob("*.py"))) <= TOP


def test_no_function_is_long_or_takes_many_parameters() -> None:
    wrong = []
    for path in sources():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION or len(arguments) > PARAMETERS:
                    wrong.append(f"{path.name}: {node.name} has {length} lines and {len(arguments)} parameters")
    assert wrong == []


def test_docstrings_begin_with_a_noun_or_a_verb() -> None:
    relative, kinds = re.compile(r"(What|Which|Whether|How|Where|When|Whose|Who|Why)\b"), (ast.Module, ast.ClassDef)
    docs = [
        (path.name, (ast.get_docstring(node) or "").partition("\n")[0])
        for path in sources()
        for node in nodes(path)
        if isinstance(node, (*kinds, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert [doc for doc in docs if relative.match(doc[1])] == []


def test_texts_name_commands_by_their_words() -> None:
    form = re.compile(r"python -m ldsmc_bench([. ])([a-z][\w-]*)\b(?![\w.]*=)")
    files = (*sources(), *ROOT.glob("conf/**/*.yaml"), *PACKAGE.rglob("*.yaml"))
    found = [(path.name, *one) for path in files for one in form.findall(path.read_text("utf-8"))]
    shims = [one for one in found if one[0] == "__init__.py"]
    assert shims and [one for one in found if one not in shims and (one[1] == "." or one[2] not in COMMANDS)] == []


def test_what_commands_of_tests_import_ahead_is_there() -> None:
    """A server of processes passes over an import that fails: every command would then import all by itself."""
    importlib.import_module("tests.preloaded")

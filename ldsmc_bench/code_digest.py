"""Which code computed a run: what reaches its numbers, so that rows of two codes never share a run unnoticed.

`PROTOCOL_VERSION` is for changes of results that are known to be such; this is for the others. Comments, docstrings and
layout do not count, nor does code that this run does not use.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object

from ldsmc_bench.errors import UserError
from ldsmc_bench.provenance import commit
from ldsmc_bench.records.publish import publish, replace, writing
from ldsmc_bench.records.store import Store, outcomes

# Rooms of ldsmc_bench that reach no number: what they make of the configuration is in the identity of a run.
BESIDE = ("cluster", "composition", "errors", "fetch", "progress", "records", "report", "settings")


def agree_on_code(store: Store, config: Mapping[str, Any], *, going_on: bool) -> None:
    """Note in `code.json` which code computes a run, or compare with the note.

    Raises UserError where rows of other code stand and more are to be added (`going_on`), unless mix_code=true; where
    none are to be added, a warning tells that they are of other code.
    """
    path, digests = store.root / "code.json", code(config)
    ours = {"commit": commit(), "files": digests}
    with writing(store.root):
        if publish(path, _text([ours])):
            return
        noted = _noted(path)
        if any(one["files"] == digests for one in noted):
            return
        if not outcomes(store):
            replace(path, _text([ours]))
            return
        before = noted[-1]
        changed = sorted(
            name for name in {**before["files"], **digests} if before["files"].get(name) != digests.get(name)
        )
        what = f"{store.run_id}: its rows were made by other code, commit {before['commit']}; in {ours['commit']} "
        what += f"{', '.join(changed)} changed"
        if not going_on:
            print(f"warning: {what}; move {store.root} away to compute it anew", file=sys.stderr)
        elif not config["mix_code"]:
            raise UserError(
                f"{what}: go back to that commit to add the missing ones, move {store.root} away to compute all anew, "
                "or say mix_code=true if that changes no result"
            )
        else:
            replace(path, _text([*noted, ours]))


def code(config: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each file that reaches the numbers of a run, by module: those that its configuration names, and
    what they import of this project or of the package of the sampler."""
    targets = sorted(set(_targets({key: config[key] for key in ("method", "task", "dataset", "prior")})))
    named = [get_object(target).__module__ for target in targets]
    tops = {module.split(".")[0] for module in named} | {"ldsmc_bench", "baselines"}
    places = [str(Path(__file__).parent.parent), *sys.path]
    found: dict[str, str] = {}
    left = ["ldsmc_bench.batch", "ldsmc_bench.known", "ldsmc_bench.scoring.choice", *named]
    while left:
        module = left.pop()
        path = _file(module, places) if module not in found and _counts(module, tops) else None
        if path is not None:
            found[module], imported = _read(path)
            left += imported
    return dict(sorted(found.items()))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from (value for key, value in node.items() if key == "_target_")
        for value in node.values():
            yield from _targets(value)


def _counts(module: str, tops: set[str]) -> bool:
    top, _, rest = module.partition(".")
    return rest.split(".")[0] not in BESIDE if top == "ldsmc_bench" else top in tops


def _file(module: str, places: list[str]) -> Path | None:
    """The file of a module, or None for what is none: a function may be imported as a module is."""
    inside = Path(*module.split("."))
    files = (Path(place) / file for place in places for file in (inside.with_suffix(".py"), inside / "__init__.py"))
    return next((file for file in files if file.is_file()), None)


@cache
def _read(path: Path) -> tuple[str, list[str]]:
    """The digest of a file, and the names of all that it may import."""
    tree = ast.parse(path.read_bytes())
    imported = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imported += [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module), level=0):
                imported += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest()[:12], imported


def _plain(node: Any) -> Any:
    """What a syntax tree says, the same in every version of Python: no places, no empty fields, no docstrings."""
    if isinstance(node, list):
        return [_plain(one) for one in node if not _is_text(one)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        (name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "type_comment"
    ]
    return [type(node).__name__, *([name, _plain(value)] for name, value in fields)]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _noted(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_bytes()))
    except ValueError as error:
        raise UserError(f"{path} is damaged: remove it if the rows beside it were made by this code") from error


def _text(noted: list[dict[str, Any]]) -> bytes:
    return (json.dumps(noted, indent=1) + "\n").encode()

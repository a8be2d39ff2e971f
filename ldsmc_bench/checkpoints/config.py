"""Configuration files that came with checkpoints, read by the tables of keys.yaml; nothing named in them is imported.

A key that no table has may change the meaning of the network, and is refused.
"""

from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any, NoReturn

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, TypeAdapter, ValidationError

from ldsmc_bench.errors import UserError

REQUIRED: Any = object()
MOST_LEVELS = 100_000  # of noise; published models have a thousand
REMEDY = "use the config published with the checkpoint"


def _split(value: object) -> object:
    return str(value).split(",") if isinstance(value, str | int) else value


def _begins_with_one(values: tuple[int, ...]) -> tuple[int, ...]:
    if values[0] != 1:
        raise ValueError("must begin with 1")
    return values


_COUNTS = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_split), Field(min_length=1)]
_KINDS: dict[str, Any] = {
    "count": Annotated[int, Field(strict=True, ge=1)],
    "levels": Annotated[int, Field(strict=True, ge=1, le=MOST_LEVELS)],
    "number": Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)],
    "flag": Annotated[bool, Field(strict=True)],  # not the word "False", which Python takes for true
    "counts": _COUNTS,  # a list, or with commas between
    "multipliers": Annotated[_COUNTS, AfterValidator(_begins_with_one)],  # of the first level's width
}


@cache
def tables() -> dict[str, Any]:
    """keys.yaml as it is."""
    return yaml.safe_load(Path(__file__).with_name("keys.yaml").read_text("utf-8"))


def _rules(family: str) -> Iterator[tuple[str, Any, Any]]:
    """Each key with the type of its values, for pydantic, and the value of an absent one."""
    for key, text in _leaves(tables()[family]):
        word, _, rest = text.partition(" ")
        above, _, last = key.rpartition(".")
        if last == "free":
            yield from ((f"{above}.{name}".lstrip("."), Any, None) for name in text.split())
        elif word in _KINDS:
            yield key, _KINDS[word], yaml.safe_load(rest) if rest else REQUIRED
        else:
            values = [yaml.safe_load(one) for one in rest.split(" | ")]
            yield key, _one_of(values), values[0] if word == "only" else REQUIRED


def _one_of(values: list[Any]) -> Any:
    def check(value: Any) -> Any:
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values):
            raise ValueError(f"this loader reads {' or '.join(map(shown, values))} only")
        return value

    return Annotated[Any, PlainValidator(check)]


class ForeignConfig:
    """The settings below `root` of a mapping in YAML or JSON; keys are dotted paths.

    Raises UserError for any other file.
    """

    def __init__(self, path: Path, root: str = "") -> None:
        self.path, self.root = path, root
        if not path.is_file():
            raise UserError(f"{path}: no such file; it belongs to the checkpoint, fetch it anew")
        try:
            whole = OmegaConf.to_container(OmegaConf.load(path), resolve=True)  # of JSON too, which YAML includes
        except OmegaConfBaseException as error:  # such as a reference to a key that is not there
            raise UserError(f"{path}: {error.full_key or 'a key'} cannot be read; {REMEDY}") from error
        except Exception as error:  # a parser of arbitrary text may raise anything
            raise UserError(f"{path}: is not a {path.suffix[1:].upper()} file; {REMEDY}") from error
        if not isinstance(whole, dict) or not whole:
            raise UserError(f"{path}: holds no settings; {REMEDY}")
        self.tree: Any = _select(whole, root.rstrip(".")) if root else whole

    def get(self, key: str) -> Any:
        """The value of `key`, None where it is absent."""
        return _select(self.tree, key)

    def read(self, *families: str) -> dict[str, Any]:
        """The value of every key in the families' tables, of which a later one overrules an earlier. A null is as good
        as absent. Raises UserError for the first key that breaks its rule, is missing, or is in no table."""
        table = {key: rule for family in families for key, *rule in _rules(family)}
        found = {key: self._read(key, *rule) for key, rule in table.items()}
        for key, value in _leaves(self.tree or {}):
            if value is not None and not any(f"{key}.".startswith(f"{name}.") for name in table):
                self.refuse(
                    key, f"a key that this loader does not know; {REMEDY}, or remove a key that changes nothing"
                )
        return found

    def _read(self, key: str, kind: Any, default: Any) -> Any:
        value = self.get(key)
        if value is None and default is REQUIRED:
            raise UserError(f"{self.path}: {self.root}{key} is missing; {REMEDY}")
        try:
            return default if value is None else TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            broken = error.errors()[0]["msg"].replace("Input should", "must").removeprefix("Value error, ")
            self.refuse(key, f"but {broken}")

    def expect(self, holds: bool, key: str, rule: str) -> None:
        """Raises UserError for the value of `key`, with the rule that it breaks, unless this holds."""
        if not holds:
            self.refuse(key, rule)

    def refuse(self, key: str, rule: str) -> NoReturn:
        raise UserError(f"{self.path}: {self.root}{key} is {shown(self.get(key))}, {rule}")


def shown(value: object) -> str:
    """A value as a message has room for it; a word with the quotes that it would need."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _select(tree: Any, key: str) -> Any:
    return reduce(lambda node, name: node.get(name) if isinstance(node, dict) else None, key.split("."), tree)


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a list is one value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

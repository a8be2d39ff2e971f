"""One clear line for what Hydra could not do: which key, choice or file is at fault, and what would do instead."""

import os
import re
import shlex
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.errors import UserError, nearest, nearest_key, one_line
from ldsmc_bench.files import CONF


@contextmanager
def explaining(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, what Hydra cannot do with a command's `arguments` is a UserError of one line, which names what is at
    fault and the remedy. An error of ours stays as it is."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (line := _explain(error, arguments)) is None:
            raise
        raise UserError(line) from error


def _explain(error: Exception, arguments: Sequence[str]) -> str | None:
    match error:
        case MissingConfigException() if error.options is not None:
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
            if group.startswith("prior/"):  # that is where a data set names its own
                dataset, choices = group.removeprefix("prior/"), ", ".join(error.options)
                return f"dataset={dataset}: it names no {choice} prior; add prior=... to the command, one of {choices}"
            if group.startswith("variant/"):
                method = group.removeprefix("variant/")
                return f"variant={choice}: {method} has no such variant; {nearest(choice, error.options)}"
            names = yaml.safe_load((CONF / "names.yaml").read_text("utf-8")).get(group, {})
            if found := [name for name in error.options if names.get(name, "").casefold() == choice.casefold()]:
                return f"{group}={choice}: no such {group}; {names[found[0]]} is {group}={found[0]}"
            own = any(one.startswith(("--config-dir", "-cd")) for one in arguments)
            hint = "" if own else "; for one of your own add --config-dir FOLDER"
            return f"{group}={choice}: no such {group}; {nearest(choice, error.options)}{hint}"
        case OverrideParseException():
            problem = str(error).removeprefix(f"Error parsing override '{error.override}'").strip().splitlines()[0]
            problem = problem.split(" expecting {")[0]  # a list of the grammar's tokens
            if "LexerNoViableAlt" in problem:
                problem = "a character that needs quotes"
            key, equals, value = error.override.partition("=")
            remedy = "write key=value, or -m key=value,value for a sweep"
            if equals and (_may_be_path(value) or not set(value) & set("[]{}(),")):
                remedy = f"write it in quotes: {_in_quotes(key, value)}"
            return f"{error.override}: cannot be read ({problem}); {remedy}"
        case ValueError() if "Config group override" in str(error):
            given = [argument.partition("=") for argument in arguments]
            empty = [f"{key}={choice}" for key, _, choice in given if key in _groups() and choice in ("", "null")]
            return f"{' '.join(empty)}: takes the name of one of its choices"
        case yaml.MarkedYAMLError() if error.problem_mark is not None:
            mark = error.problem_mark
            tab = "; YAML takes spaces, never tabs" if "\\t" in str(error) else ""
            return f"{mark.name}:{mark.line + 1}: {error.problem or error.context}{tab}"
        case UnicodeDecodeError():
            return "a YAML file of this command is not UTF-8; save it as that"
        case HydraException() | OmegaConfBaseException():
            return _uncomposed(error, arguments)
        case OSError():  # a run's own files are looked after by the store; these are the command's logs
            folders = [one.lstrip("+").partition("=") for one in arguments if "hydra." in one and ".dir=" in one]
            at_fault = [key for key, _, folder in folders if str(error.filename).startswith(folder)]
            key, where = [*at_fault, "results_dir"][0], f"{error.filename} " if error.filename else ""
            why = f"cannot write {where}({error.strerror or error})"
            return f"{key}: {why}: make that possible, or choose another folder with {key}=..."
        case _ if {"hydra", "omegaconf"} & {*Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts}:
            flags = [argument for argument in arguments if argument.lstrip("+~").startswith("hydra")]
            return ": ".join([*([" ".join(flags)] if flags else []), one_line(error) or type(error).__name__])
    return None


def _uncomposed(error: Exception, arguments: Sequence[str]) -> str:
    if unknown := re.search(r"(?:Could not override|Could not append|Key) '([^']+)'", str(error)):
        key = unknown.group(1).split("@")[0]
        if key.startswith("hydra."):
            return f"{key}: no such key; if it is to be new, write +{key}=..."
        return f"{key}: no such key; {_elsewhere(key) or nearest_key(key, _known_keys(arguments))}"
    if several := re.search(r"Ambiguous value for argument '(.+)'\n", str(error)):
        key, _, value = several.group(1).partition("=")
        one = f"; if it is one value, write {_in_quotes(key, value)}" if _may_be_path(value) else ""
        return f"{several.group(1)}: several values make a sweep; add -m to the command{one}"
    if twice := re.search(r"Multiple values for (.+)\. To override a value use", str(error)):
        return f"{twice.group(1)}: has a choice already; write {twice.group(1)}=... once, without a +"
    if isinstance(error.__cause__, OmegaConfBaseException) and str(error).startswith("Error merging override "):
        override = str(error).removeprefix("Error merging override ").splitlines()[0]
        return f"{override}: {str(error.__cause__).splitlines()[0]}"
    return one_line(error).split(" Config search path: ")[0]


def _elsewhere(key: str) -> str | None:
    """The other choices of the key's group that have such a key: `dataset=folder has it` for dataset.root."""
    group, _, rest = key.partition(".")
    files = sorted((CONF / group).glob("*.yaml")) if rest else []
    owners = [f"{group}={file.stem}" for file in files if rest in _paths(OmegaConf.load(file))]
    return f"{' or '.join(owners)} has it" if owners else None


def _known_keys(arguments: Sequence[str]) -> list[str]:
    """Every key that may be overridden, as dotted paths, with the method, task and so on that the arguments choose."""
    from ldsmc_bench.config import compose  # and PyTorch with it

    chosen = [one.split(",")[0] for one in arguments if one.partition("=")[0] in _groups()]
    own = [Path(folder).absolute() for flag, folder in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    return list(_paths(compose(*chosen, *(f"hydra.searchpath=[{quoted(f'file://{folder}')}]" for folder in own))))


def _paths(config: Any) -> Iterable[str]:
    def below(node: dict[str, Any], prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from below(value, f"{prefix}{key}.")

    return below(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)), "")


def _groups() -> list[str]:
    return [folder.name for folder in CONF.iterdir() if folder.is_dir()]


def quoted(value: str) -> str:
    """A value as Hydra reads it back, whatever is in it."""
    return QuotedString(value, Quote.single if '"' in value else Quote.double).with_quotes()


def own_files(folder: str | Path | None) -> list[str]:
    """The override that adds a folder of the user's YAML files; none without one. Raises UserError where there is no
    such folder."""
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise UserError(f"--config-dir {folder}: no such folder")
    return [f"hydra.searchpath=[{quoted(f'file://{Path(folder).resolve()}')}]"]


def _in_quotes(key: str, value: str) -> str:
    """An override for a shell whose value is these very characters, whatever they mean to Hydra or the shell."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return shlex.quote(f"{key}={quoted(value)}")


def _may_be_path(value: str) -> bool:
    return os.sep in value or os.path.lexists(value)

"""One clear line for what Hydra could not do: which key, choice or file is at fault, and what would do instead."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.errors import UserError

CONF = Path(__file__).parent.parent / "conf"


def explained(error: Exception, arguments: Sequence[str]) -> str | None:
    """A line that names what is at fault in a command's `arguments`, and the remedy; None for an error of ours."""
    match error:
        case MissingConfigException() if error.options is not None:
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
            if group.startswith("prior/"):  # that is where a data set names its own
                dataset, choices = group.removeprefix("prior/"), ", ".join(error.options)
                return f"dataset={dataset}: it names no {choice} prior; add prior=... to the command, one of {choices}"
            return f"{group}={choice}: no such {group}; {nearest(choice, error.options)}"
        case OverrideParseException():
            problem = str(error).removeprefix(f"Error parsing override '{error.override}'").strip().splitlines()[0]
            problem = problem.split(" expecting {")[0]  # a list of the grammar's tokens
            return f"{error.override}: cannot be read ({problem}); write key=value, or -m key=value,value for a sweep"
        case ValueError() if "Config group override" in str(error):
            empty = [argument for argument in arguments if argument.partition("=")[0] in _groups()]
            return f"{' '.join(empty)}: each of these takes the name of one of its choices"
        case HydraException() | OmegaConfBaseException():
            return _uncomposed(error, arguments)
        case UserError():
            return one_line(error)
        case OSError():  # a run's own files are looked after by the store; these are the command's logs
            return (
                f"results_dir: cannot write {error.filename} ({error.strerror}): make that possible, "
                "or choose another folder with results_dir=..."
            )
    return None


def _uncomposed(error: Exception, arguments: Sequence[str]) -> str:
    unknown = re.search(r"(?:Could not override|Could not append|Key) '([^']+)'", str(error))
    if unknown:
        key = unknown.group(1).split("@")[0]
        return f"{key}: no such key; {elsewhere(key) or nearest_key(key, known_keys(arguments))}"
    several = re.search(r"Ambiguous value for argument '(.+)'\n", str(error))
    if several:
        return f"{several.group(1)}: several values make a sweep; add -m to the command"
    return one_line(error)


def one_line(error: Exception) -> str:
    """What an error says; of a configuration's, its first line, led by the key at fault."""
    key = getattr(error, "full_key", None)
    if key and isinstance(error, OmegaConfBaseException):
        return f"{key}: {str(error).splitlines()[0]}"
    return " ".join(str(error).split())


def nearest(name: str, choices: Iterable[str]) -> str:
    """`did you mean …` for a near miss, else the list of what there is."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    return f"did you mean {_alternatives(close)}?" if close else f"there are: {', '.join(choices)}"


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """As `nearest`, for dotted paths: a key may be right but for its parents (kappa1 is method.sample.kappa1)."""
    keys = sorted(keys, key=lambda path: (path.count("."), path))  # the shallowest first: tables lie deep
    last = key.rpartition(".")[2]
    ends = difflib.get_close_matches(last, {path.rpartition(".")[2] for path in keys}, n=1, cutoff=0.75)
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.75)
    close += [path for path in keys if path.rpartition(".")[2] in ends][:1]
    if close:
        return f"did you mean {_alternatives(dict.fromkeys(close))}?"
    return nearest(key, [path for path in keys if "." not in path])


def elsewhere(key: str) -> str | None:
    """Where another choice of the key's group has such a key: `dataset=folder has it` for dataset.root."""
    group, _, rest = key.partition(".")
    files = sorted((CONF / group).glob("*.yaml")) if rest else []
    owners = [file.stem for file in files if rest in _paths(cast(dict[str, Any], _plain(file)), "")]
    return f"{_alternatives(f'{group}={owner}' for owner in owners)} has it" if owners else None


def known_keys(arguments: Sequence[str]) -> list[str]:
    """Every key that may be overridden, as dotted paths, with the method, task and so on that the arguments choose."""
    chosen = [argument.split(",")[0] for argument in arguments if argument.partition("=")[0] in _groups()]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("config", overrides=chosen), resolve=False)
        return list(_paths(cast(dict[str, Any], plain), ""))


def _groups() -> list[str]:
    return [folder.name for folder in CONF.iterdir() if folder.is_dir()]


def _plain(file: Path) -> object:
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def _paths(node: dict[str, Any], prefix: str) -> Iterable[str]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, dict):
            yield from _paths(value, f"{path}.")


def _alternatives(names: Iterable[str]) -> str:
    return " or ".join(names)

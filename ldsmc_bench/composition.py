"""One clear line for what Hydra could not compose: which key or choice is unknown, and the nearest ones that exist."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).parent.parent / "conf"


def explained(error: Exception) -> str | None:
    """A line that names the key at fault and the remedy; None where the error is not about the configuration."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: no such {group}; {nearest(choice, error.options)}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        unknown = re.search(r"(?:Could not override|Could not append|Key) '([^']+)'", str(error))
        if unknown:
            key = unknown.group(1).split("@")[0]
            return f"{key}: no such key; {nearest(key, known_keys())}"
        return " ".join(str(error).split())
    return None


def nearest(name: str, choices: Iterable[str]) -> str:
    """`did you mean …` for a near miss, else the list of what there is."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if not close:  # a key may be right but for its parents: kappa1 is method.sample.kappa1
        close = [choice for choice in choices if choice.split(".")[-1] == name.split(".")[-1]][:3]
    if close:
        return f"did you mean {' or '.join(close)}?"
    top = [choice for choice in choices if "." not in choice]
    return f"there are: {', '.join(top)}"


def known_keys() -> list[str]:
    """Every key that may be overridden, as dotted paths."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("config"), resolve=False)
        return list(_paths(cast(dict[str, Any], plain), ""))


def _paths(node: dict[str, Any], prefix: str) -> Iterable[str]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, dict):
            yield from _paths(value, f"{path}.")

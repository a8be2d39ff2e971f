"""The identity of a run: one name for everything that reaches the computation, and for nothing else.

The name is a hash, so a run asked for twice is found again, and a run that differs in one number is another run.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping

from ldsmc_bench.errors import UserError

# Part of every identity. Raise it when a change of the code changes results under an unchanged configuration,
# so that old rows and new ones never share a run.
PROTOCOL_VERSION = 1

DIGITS = 12  # of the hash, 48 bits: among 10,000 runs two share a name with a chance of 2 in 10 million


def run_id(identity: Mapping[str, object]) -> str:
    """`<method>-<task>-<dataset>-<hash>`, for example `ldsmc-freeform-toyfaces-3f9c1a2b4d5e`.

    The entries `method`, `task` and `dataset` are names, or mappings with a `name`. The hash is the SHA-256 of the
    canonical text, cut to 12 digits.
    """
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()
    return "-".join([*(_name(identity, key) for key in ("method", "task", "dataset")), digest[:DIGITS]])


def canonical(identity: Mapping[str, object]) -> str:
    """The one JSON text of a configuration: keys sorted, 1.0 written as 1, tuples as lists.

    Raises UserError for NaN and infinities, TypeError for what JSON has no word for; both name the key.
    """
    return json.dumps(_plain(identity, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, key: str) -> object:
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise UserError(f"{key}={value} cannot be part of a run: give a finite number, or null for no limit")
            # Equal numbers must hash alike, whether the user typed 1 or 1.0; -0.0 becomes 0.
            return int(value) if value.is_integer() else float(value)
        case list() | tuple():
            return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
        case Mapping():
            return {_key(name, key): _plain(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    raise TypeError(f"{key or 'identity'} is a {type(value).__name__}, which JSON cannot hold: pass plain values")


def _key(name: object, parent: str) -> str:
    # JSON would turn the key 1 into "1" and so let two different mappings share a hash.
    if not isinstance(name, str):
        raise TypeError(f"{parent or 'identity'} has the key {name!r}, which JSON cannot hold: pass a string")
    return name


def _name(identity: Mapping[str, object], key: str) -> str:
    value = identity[key]
    name = value["name"] if isinstance(value, Mapping) else value
    return re.sub(r"[^A-Za-z0-9_.]+", "_", str(name))

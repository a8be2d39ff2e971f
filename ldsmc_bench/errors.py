"""The exceptions, warnings and notices that a user is meant to see: a single clear line, no traceback."""

import difflib
import sys
from collections.abc import Iterable
from functools import cache

from ldsmc_bench.text import printable


class UserError(Exception):
    """A user's mistake: one line that names the key, file or image at fault and the remedy."""


class Unsupported(UserError):
    """A task that a method cannot do by its nature, such as one without a pseudo-inverse.

    Its images are skipped, with this line as the reason, and everything else goes on.
    """


def warn(line: str) -> None:
    """Print a warning on stderr, once a process for each text."""
    notify(f"warning: {line}")


@cache
def notify(line: str) -> None:
    """Print a line on stderr, once a process for each text."""
    print(printable(line), file=sys.stderr)


def one_line(error: BaseException) -> str:
    """The message of an error in one line; for a configuration error, led by the key at fault."""
    if key := getattr(error, "full_key", None):
        return f"{key}: {str(error).splitlines()[0]}"
    return " ".join(str(error).split())


def nearest(name: str, choices: Iterable[str]) -> str:
    """`did you mean …` for a near miss, else the list of what there is."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(choices) or 'none'}"


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """As `nearest`, for dotted paths: a key may be right but for its parents (kappa1 is method.sample.kappa1)."""
    keys = sorted(keys, key=lambda path: (path.count("."), path))  # the shallowest first: tables lie deep
    section, _, last = key.rpartition(".")
    ends = difflib.get_close_matches(last, {path.rpartition(".")[2] for path in keys}, n=1, cutoff=0.75)
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.75)
    close += [path for path in keys if path.rpartition(".")[2] in ends][:1]
    if close:
        return f"did you mean {' or '.join(dict.fromkeys(close))}?"
    siblings = [path.rpartition(".")[2] for path in keys if path.rpartition(".")[0] == section]
    return nearest(last, siblings or [path for path in keys if "." not in path])

"""What is known of fetched files: `<cache>/digests.json` holds the SHA-256 that each had when it first came.

Publishers give few digests, so the first one seen is the one expected ever after.
"""

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.cache import cache_folder

_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"version https://git-lfs")  # what comes in a file's place


def check(file: Path, path: Path, known: str = "") -> str:
    """The SHA-256 of `file`, which is, or is to become, `path` in the cache.

    Raises UserError where it is empty or a web page, or its digest is not the recorded one, or does not begin
    with `known`.
    """
    with file.open("rb") as stream:
        beginning = stream.read(64)
        if not beginning:
            raise UserError(f"{file}: is empty; remove it")
        if beginning.lstrip().lower().startswith(_PAGES):
            raise UserError(f"{file}: is a web page or a pointer in place of {path.name}; remove it")
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(known):
        raise UserError(f"{file}: its SHA-256 begins with {found[: len(known)]}, the publisher's with {known}")
    if (entry := recorded(path)) and entry["sha256"] != found:
        raise UserError(
            f"{file}: its SHA-256 is {found[:16]}…, but was {entry['sha256'][:16]}… on {entry['first']};"
            f" if the publisher changed it, remove {_key(path)} from {_listed()}"
        )
    return found


def record(path: Path, sha256: str, origin: str) -> None:
    """Note what `path` in the cache must be from now on; what was noted first stays. `origin` says how it came."""
    if recorded(path) is None:
        entry = {
            "sha256": sha256,
            "bytes": path.stat().st_size,
            "from": origin,
            "first": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        temporary = _listed().with_suffix(".tmp")
        temporary.write_text(json.dumps({**_entries(), _key(path): entry}, indent=2, sort_keys=True) + "\n")
        os.replace(temporary, _listed())


def recorded(path: Path) -> dict[str, Any] | None:
    """`sha256`, `bytes`, `from` and `first` (a date) of a file in the cache; None where it was never fetched."""
    return _entries().get(_key(path))


def _entries() -> dict[str, dict[str, Any]]:
    try:
        return json.loads(_listed().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{_listed()}: cannot be read as JSON; remove it, and fetch records digests anew") from error


def _listed() -> Path:
    return cache_folder() / "digests.json"


def _key(path: Path) -> str:
    return path.relative_to(cache_folder()).as_posix()

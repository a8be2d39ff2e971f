"""The networks' files of metrics: whether they are there and which they are. Nothing is downloaded here."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import cache_folder, file_digest
from ldsmc_bench.scoring.protocols import PROTOCOLS


def file_of(metric: str) -> Path | None:
    """The file of the network of a metric, such as `lpips_vgg`; None where it was not fetched. Raises UserError, with
    the remedy, where its size differs from the one that was fetched."""
    protocol = PROTOCOLS[metric]
    assert protocol.file is not None, f"{metric} needs no file"
    if protocol.fetched is None:
        return Path(__file__).parents[1] / protocol.file
    path = cache_folder() / "metrics" / protocol.fetched.removeprefix("metric=") / protocol.file
    return expect_size(path, protocol.fetched) if path.is_file() else None


def expect_size(path: Path, source: str) -> Path:
    """`path`, if it is as long as it was when it was fetched. Raises UserError with the command that repairs it."""
    if (entry := recorded(path)) and entry["bytes"] != (size := path.stat().st_size):
        command = f"python -m ldsmc_bench fetch {source} --force"
        raise UserError(f"{path}: has {size} bytes instead of {entry['bytes']}: {command}")
    return path


def digest_of(metric: str) -> str | None:
    """SHA-256 of the network's file of a metric; None where it was not fetched."""
    if (path := file_of(metric)) is None:
        return None
    entry = recorded(path) if PROTOCOLS[metric].fetched else None
    return str(entry["sha256"]) if entry else file_digest(path)


def command(metrics: Iterable[str]) -> str:
    """The command that brings the files of these metrics."""
    return " ".join(["python -m ldsmc_bench fetch", *dict.fromkeys(str(PROTOCOLS[name].fetched) for name in metrics)])


def recorded(path: Path) -> dict[str, Any] | None:
    """`sha256`, `bytes`, `from` and `first` (a date) of a file in the cache; None where it was never fetched."""
    return entries().get(cache_key(path))


def entries() -> dict[str, dict[str, Any]]:
    """All records of fetched files. Raises UserError where their file cannot be read."""
    try:
        return json.loads(digests_file().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = "cannot be read as JSON; remove it, and fetch records digests anew"
        raise UserError(f"{digests_file()}: {why}") from error


def digests_file() -> Path:
    return cache_folder() / "digests.json"


def cache_key(path: Path) -> str:
    return path.relative_to(cache_folder()).as_posix()

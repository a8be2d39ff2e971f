"""Files that appear whole or not at all, on local and on shared file systems, without locks.

A file is written under a temporary name in the folder where it belongs, brought to the disk, and only then given its
name: by `publish`, where the first writer wins (a hard link fails if the name is taken, on NFS too), or by `replace`,
where the last one does. A temporary name starts with a dot and ends in `.tmp`, so that what a killed process leaves
behind is never taken for a result.
"""

import errno
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from safetensors import SafetensorError

from ldsmc_bench.errors import UserError

_HERE = Path(__file__).parent
CONF = folder if (folder := _HERE / "conf").is_dir() else _HERE.parent / "conf"  # in a wheel; in a checkout
GROUPS = ("method", "task", "dataset", "prior")  # of which a run has one choice each
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)


def publish(path: Path, data: bytes) -> bool:
    """Give `path` this content unless it has one already. True if the content is ours."""
    with staged(path, data) as temporary:
        return link(temporary, path)


def replace(path: Path, data: bytes) -> None:
    """Give `path` this content whatever it held; a reader sees the old file or the new one."""
    with staged(path, data) as temporary:
        os.replace(temporary, path)
    _settle(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """As `replace`, in a folder that is created where it is absent. Raises UserError where it cannot be written."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, data)


@contextmanager
def staged(path: Path, data: bytes) -> Iterator[Path]:
    """`data`, complete and on the disk, under a temporary name beside `path` for as long as the block lasts."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def link(temporary: Path, path: Path) -> bool:
    """Name the file `path` too, unless that name is taken. True if `path` is now this file."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS may repeat a request whose answer was lost: then the file in our way is our own.
        if not os.path.samefile(temporary, path):
            return False
    except OSError as error:
        # Without hard links, two writers in this very instant would both win: the best such a file system can do.
        if error.errno not in NO_HARD_LINKS:
            raise
        if path.exists():
            return False
        os.replace(temporary, path)
    _settle(path.parent)
    return True


def alias(source: Path, path: Path) -> None:
    """Make `path` another name of the file `source`, whatever it named before. Repeating it has no effect."""
    spare = temporary_name(path)
    try:
        os.link(source, spare)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        replace(path, source.read_bytes())
        return
    os.replace(spare, path)
    spare.unlink(missing_ok=True)  # renaming between two names of one file does nothing, so one is left over
    _settle(path.parent)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody else takes, and nobody takes for a result."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")


def _settle(folder: Path) -> None:
    """Bring the names of a folder to the disk, so that they outlive the machine, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, a failure to write is a UserError that names `folder`, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = "make it writable, or choose another folder with results_dir=..."
        if error.errno in FULL:
            remedy = "free some space there and give the same command again: what is finished is kept"
        raise UserError(f"results_dir: cannot write in {folder} ({error.strerror}): {remedy}") from error


def cache_folder() -> Path:
    """`$LDSMC_CACHE`, else `ldsmc_bench` in the user's cache directory (`$XDG_CACHE_HOME`, else the system's)."""
    if chosen := os.environ.get("LDSMC_CACHE"):
        return Path(chosen).expanduser()
    folder = os.environ.get("XDG_CACHE_HOME") or platformdirs.user_cache_dir()
    return Path(folder).expanduser() / "ldsmc_bench"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` if all goes well, so that no reader meets half a file.

    Raises UserError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path, b"") as temporary:
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            with temporary.open("rb") as file, suppress(PermissionError):  # of a file system without modes
                os.fsync(file.fileno())
                temporary.chmod(mode)  # safetensors writes for the user alone
            temporary.replace(path)
        _settle(path.parent)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk in its own words
        reason = getattr(error, "strerror", None) or error  # without the temporary name, which is another each time
        remedy = "make room there or choose another folder with LDSMC_CACHE"
        raise UserError(f"{path}: cannot be written ({reason}); {remedy}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where the file is absent or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_digest(pixels: np.ndarray) -> str:
    """The first 16 hex digits of the SHA-256 of an array's bytes in its own order of axes."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def canonical(identity: Mapping[str, object]) -> str:
    """The one JSON text of a configuration: keys sorted, 1.0 written as 1, tuples as lists.

    Raises UserError, which names the key, for NaN, infinities and what JSON has no word for.
    """
    return json.dumps(_plain(identity, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, key: str) -> object:
    match value:
        case None | bool() | str() | int():
            return value
        case float() if math.isfinite(value):  # equal numbers hash alike, written as 1 or 1.0; -0.0 becomes 0
            return int(value) if value.is_integer() else float(value)
        case list() | tuple():
            return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
        case Mapping() if all(isinstance(name, str) for name in value):  # or JSON would turn the key 1 into "1"
            return {name: _plain(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    remedy = "give finite numbers, words (as keys too), true, false, null (for no limit), or lists or sections of these"
    raise UserError(f"{key or 'identity'}={value} cannot be part of a run: {remedy}")

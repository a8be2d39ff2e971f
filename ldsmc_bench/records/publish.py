"""Files that appear whole or not at all, on local and on shared file systems, without locks.

A file is written under a temporary name in the folder where it belongs, brought to the disk, and only then given its
name: by `publish`, where the first writer wins (a hard link fails if the name is taken, on NFS too), or by `replace`,
where the last one does. A temporary name starts with a dot and ends in `.tmp`, so that what a killed process leaves
behind is never taken for a result.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ldsmc_bench.errors import UserError

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
    settle(path.parent)


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
        if error.errno not in NO_HARD_LINKS:
            raise
        if path.exists():  # two writers in this very instant would both win: the best such a file system can do
            return False
        os.replace(temporary, path)
    settle(path.parent)
    return True


def alias(source: Path, path: Path) -> None:
    """Make `path` another name of the file `source`, whatever it named before. A second time does nothing."""
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
    settle(path.parent)


def settle(folder: Path) -> None:
    """Bring the names of a folder to the disk, so that they outlive the machine, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody else takes, and nobody takes for a result."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell the user in one line, as a UserError, why `folder` could not be written and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            remedy = "free some space there and give the same command again: what is finished is kept"
        else:
            remedy = "make it writable, or choose another folder with results_dir=..."
        raise UserError(f"results_dir: cannot write in {folder} ({error.strerror}): {remedy}") from error

"""One source brought to its file in the cache, checked and recorded."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.check import check, record, unpack
from ldsmc_bench.fetch.download import NotOffered, download, forget
from ldsmc_bench.fetch.sources import SOURCES, Source, Sources, format_size, part_of, place, require_source, where
from ldsmc_bench.files import cache_folder


def obtain(name: str, source: Source, options: Namespace) -> str:
    """Bring the file of `source` into the cache; the result in one line. The options are those of the command.

    Raises UserError where it cannot be brought or is not what it must be; an earlier file then stays.
    """
    path = place(name, source)
    try:
        with _locked(cache_folder()):
            if path.is_file() and not options.force:
                digest, origin = _verify(name, source, path), "by hand"
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                digest, origin = _bring(name, source, path, options)
            record(path, digest, origin)
            return f"{name}: complete, {format_size(path.stat().st_size)}, SHA-256 {digest[:16]}…: {path}"
    except OSError as error:
        raise UserError(
            f"{name}: {error.filename or path.parent}: {error.strerror or error};"
            " make room or give permission there, or choose another folder with LDSMC_CACHE"
        ) from error


def verified(name: str, sources: Sources = SOURCES) -> str:
    """SHA-256 of a fetched file, read anew. Raises UserError, with the command that helps, where it is absent, or is
    neither the file that first came nor the publisher's."""
    return _verify(name, require_source(name, sources), where(name, sources))


def _verify(name: str, source: Source, path: Path) -> str:
    try:
        return check(path, path, "" if source.packed else source.sha256)
    except UserError as error:
        raise UserError(f"{error}; to replace it: python -m ldsmc_bench fetch {name} --force") from error


def _bring(name: str, source: Source, path: Path, options: Namespace) -> tuple[str, str]:
    """Bring the file to its path, out of an archive where it comes in one; its digest and its origin."""
    offered, given = path.with_name(source.offered), options.given
    if given is None and source.packed and offered.is_file() and not options.force:  # whole, but not yet unpacked
        digest, origin = check(offered, offered, source.sha256), "by hand"
    else:
        digest, origin = _deliver(name, source, offered, options)
    if source.packed:
        archive, digest = digest, _unpack(offered, path)
        record(offered, archive, origin)
        offered.unlink()
    return digest, origin


def _deliver(name: str, source: Source, offered: Path, options: Namespace) -> tuple[str, str]:
    """Bring the publisher's file to its place, once it is whole and right; its digest and its origin."""
    by_hand = (
        f"get {source.offered} from {source.page}, accept terms if you are asked to, and put it in {offered.parent} and"
        f" give this command again, or: python -m ldsmc_bench fetch {name} --from {source.offered}"
    )
    part = part_of(offered)
    if options.force or options.given:
        forget(part)
    if options.given:
        if not options.given.is_file():
            raise UserError(f"--from {options.given}: there is no such file")
        origin = str(options.given)
        shutil.copyfile(options.given, part)
    elif source.url is None:
        raise UserError(f"{name}: is offered to people only, not to programs: {by_hand}")
    else:
        origin = options.mirror.rstrip("/") + urlsplit(source.url).path if options.mirror else source.url
        try:
            download(origin, part, options.timeout)
        except UserError as error:
            raise UserError(f"{name}: {error}{f'; {by_hand}' if isinstance(error, NotOffered) else ''}") from error
    try:
        digest = check(part, offered, source.sha256)
    except UserError:
        part.unlink()  # it would be taken for the beginning of the right one
        raise
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, offered)
    return digest, origin


def _unpack(archive: Path, path: Path) -> str:
    """Unpack into the folder of `path`, which gets its name last: where it is, all is. The digest of that file."""
    folder = path.parent.with_name(f".{path.parent.name}.unpacking")
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    top = unpack(archive, folder, path.name)
    try:
        digest = check(top / path.name, path)
        files = [file for file in top.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file == top / path.name):
            destination = path.parent / file.relative_to(top)
            destination.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, destination)
        return digest
    finally:
        shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process fetches into this folder, where its file system can tell."""
    lock = FileLock(folder / ".fetching")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another fetch into {folder}", file=sys.stderr)
        lock.acquire()
    except (OSError, NotImplementedError):
        pass  # a folder to read only, whose complete files need no writing, or a file system without locks
    try:
        yield
    finally:
        lock.release()

"""One source, from wherever it stands to its file in the cache, checked and recorded."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.archive import unpack
from ldsmc_bench.fetch.digests import check, record
from ldsmc_bench.fetch.download import NotOffered, Patience, download, forget
from ldsmc_bench.fetch.places import in_words, known, part_of, place, where
from ldsmc_bench.fetch.sources import SOURCES, Source, Sources
from ldsmc_bench.prior.cache import cache_folder


@dataclass(frozen=True)
class Way:
    """How to bring a file.

    given: what the publisher offers, already on this machine, instead of a download
    anew: replace what is there
    mirror: scheme, host and folder that stand for the publisher's host
    """

    given: Path | None = None
    anew: bool = False
    mirror: str | None = None
    patience: Patience = field(default_factory=Patience)


def obtain(name: str, source: Source, way: Way) -> str:
    """Bring the file of `source` into the cache, and say in one line what became of it.

    Raises UserError where it cannot be brought or is not what it must be; what was there before then stays.
    """
    path = place(name, source)
    try:
        with alone(cache_folder()):
            if path.is_file() and not way.anew:
                digest, origin = _present(name, source, path), "by hand"
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                digest, origin = _brought(name, source, path, way)
            record(path, digest, origin)
            return f"{name}: complete, {in_words(path.stat().st_size)}, SHA-256 {digest[:16]}…: {path}"
    except OSError as error:
        raise UserError(
            f"{name}: {error.filename or path.parent}: {error.strerror or error};"
            " make room or give permission there, or choose another folder with LDSMC_CACHE"
        ) from error


def verified(name: str, sources: Sources = SOURCES) -> str:
    """SHA-256 of a fetched file, read anew. Raises UserError, with the command that helps, where it is absent, or is
    neither what first came nor what its publisher says."""
    return _present(name, known(name, sources), where(name, sources))


def by_hand(name: str, source: Source) -> str:
    """What a person can do where the publisher's server does not give the file to a program."""
    folder = place(name, source).parent
    return (
        f"get {source.offered} from {source.page}, accept terms if you are asked to, and put it in {folder} and give"
        f" this command again, or: python -m ldsmc_bench.fetch {name} --from {source.offered}"
    )


def _present(name: str, source: Source, path: Path) -> str:
    """The digest of the file in the cache. Raises UserError where it is not the one that was fetched."""
    try:
        return check(path, path, "" if source.packed else source.sha256)
    except UserError as error:
        raise UserError(f"{error}; to replace it: python -m ldsmc_bench.fetch {name} --force") from error


def _brought(name: str, source: Source, path: Path, way: Way) -> tuple[str, str]:
    """Bring the file to its path, out of an archive where it comes in one; its digest and where it came from."""
    if way.given is None and source.url is None:
        raise UserError(f"{name}: is offered to people only, not to programs: {by_hand(name, source)}")
    if way.given is not None and not way.given.is_file():
        raise UserError(f"--from {way.given}: there is no such file")
    offered = path.with_name(source.offered)
    if not source.packed:
        return _delivered(name, source, offered, way)
    if way.given is not None:
        check(way.given, offered, source.sha256)
        return _unpacked(way.given, path), str(way.given)
    if offered.is_file() and not way.anew:  # whole, but not yet unpacked
        archive, origin = check(offered, offered, source.sha256), "by hand"
    else:
        archive, origin = _delivered(name, source, offered, way)
    digest = _unpacked(offered, path)
    record(offered, archive, origin)
    offered.unlink()
    return digest, origin


def _delivered(name: str, source: Source, offered: Path, way: Way) -> tuple[str, str]:
    """Bring what the publisher offers to its place, once it is whole and right; its digest and where it came from."""
    part = part_of(offered)
    if way.anew or way.given is not None:
        forget(part)
    if way.given is not None:
        shutil.copyfile(way.given, part)
        origin = str(way.given)
    else:
        origin = _address(str(source.url), way.mirror)
        try:
            download(origin, part, way.patience)
        except NotOffered as error:
            raise UserError(f"{name}: {error}; {by_hand(name, source)}") from error
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    try:
        digest = check(part, offered, source.sha256)
    except UserError:
        part.unlink()  # it would be taken for the beginning of the right one
        raise
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, offered)
    return digest, origin


def _unpacked(archive: Path, path: Path) -> str:
    """Unpack into the folder of `path`, which gets its name last: where it is, all is. The digest of that file."""
    folder = path.parent.with_name(f".{path.parent.name}.unpacking")
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    unpack(archive, folder, path.name)
    try:
        digest = check(folder / path.name, path)
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file == folder / path.name):
            destination = path.parent / file.relative_to(folder)
            destination.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, destination)
        return digest
    finally:
        shutil.rmtree(folder)


def _address(url: str, mirror: str | None) -> str:
    return mirror.rstrip("/") + urlsplit(url).path if mirror else url


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process fetches into this folder, where its file system can tell."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".fetching").open("w")
    except OSError:  # a folder to read only: what is complete needs no writing
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another fetch into {folder}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield

"""Checks of files that came from elsewhere: their digests, and archives, of which all is unpacked or nothing.

Publishers give few digests, so the first one seen is the one expected ever after: `<cache>/digests.json` keeps it.
"""

import json
import shutil
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.sources import format_size
from ldsmc_bench.files import file_digest, replace
from ldsmc_bench.scoring.fetched import cache_key, digests_file, entries, recorded

_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"version https://git-lfs")  # which come in a file's place
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError)


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
    found = file_digest(file)
    if not found.startswith(known):
        raise UserError(f"{file}: its SHA-256 begins with {found[: len(known)]}, the publisher's with {known}")
    if (entry := recorded(path)) and entry["sha256"] != found:
        raise UserError(
            f"{file}: its SHA-256 is {found[:16]}…, but was {entry['sha256'][:16]}… on {entry['first']};"
            f" if the publisher changed it, remove {cache_key(path)} from {digests_file()}"
        )
    return found


def record(path: Path, sha256: str, origin: str) -> None:
    """Note the digest of `path` in the cache, which it must have from now on; an earlier note stays."""
    if recorded(path) is None:
        entry = {"sha256": sha256, "bytes": path.stat().st_size, "from": origin}
        known = {**entries(), cache_key(path): entry | {"first": f"{datetime.now(UTC):%Y-%m-%d}"}}
        replace(digests_file(), (json.dumps(known, indent=2, sort_keys=True) + "\n").encode())


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raises UserError where the disk of `folder` has no room for `needed` bytes."""
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"{what}, but there is room for {format_size(free)};"
            " make room there or choose another folder with LDSMC_CACHE"
        )


def unpack(archive: Path, folder: Path, required: str) -> Path:
    """Unpack `archive` into the new folder `folder`. Returns the folder of the file `required`: this, or the only
    one in it.

    zipfile makes no links and no more of an entry than it declares. Raises UserError, and leaves no folder, where an
    entry would leave it or is damaged, the disk has no room for all, or there is no file `required`.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if "__MACOSX" not in member.filename]
            for name in (member.orig_filename for member in members):
                if name.startswith("/") or ".." in PurePosixPath(name).parts or any(mark in name for mark in "\\:\0"):
                    raise UserError(f"{archive}: entry {name!r} leads out of its folder; do not trust this archive")
            needed = sum(member.file_size for member in members)
            check_room(archive.parent, needed, f"{archive}: unpacks to {format_size(needed)}")
            folder.mkdir(parents=True)
            file.extractall(folder, members)
        tops = list(folder.iterdir())
        top = tops[0] if len(tops) == 1 and tops[0].is_dir() else folder
        if not (top / required).is_file():
            found = ", ".join(path.name for path in sorted(top.iterdir())[:5]) or "nothing"
            raise UserError(f"{archive}: holds no {required}, but {found}; give the publisher's archive")
        return top
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, _DAMAGED):
            line = f"{archive}: is damaged or no zip archive ({error}); remove it and fetch it again"
            raise UserError(line) from error
        raise

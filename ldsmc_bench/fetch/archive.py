"""Unpacking a zip archive that came from elsewhere: everything inside one folder, or nothing."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.places import in_words

_CHUNK = 2**20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError)


def unpack(archive: Path, folder: Path, wanted: str) -> None:
    """Unpack `archive` into the new folder `folder`; a single folder around all of its files is left out.

    Raises UserError, before anything is written, where an entry would leave the folder, is a link or anything else but
    a file, or overlaps another; where the disk has no room for what the archive declares; where it holds no file
    `wanted`. Raises it, with the folder removed, where an entry is damaged or is not as declared.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = _members(file, archive)
            if PurePosixPath(wanted) not in members:
                found = ", ".join(map(str, list(members)[:5])) or "nothing"
                raise UserError(f"{archive}: holds no {wanted}, but {found}; give the publisher's archive")
            _check_room(file, members, archive, folder)
            folder.mkdir(parents=True)
            try:
                for path, member in members.items():
                    _extract(file, member, folder / path)
            except BaseException:
                shutil.rmtree(folder)
                raise
    except _DAMAGED as error:
        raise UserError(f"{archive}: is damaged or no zip archive ({error}); remove it and fetch it again") from error


def _members(file: zipfile.ZipFile, archive: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by their path below the folder."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in file.infolist():
        name = member.orig_filename
        path = PurePosixPath(name)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or any(mark in name for mark in ("\\", ":", "\0")):
            raise UserError(f"{archive}: entry {name!r} leads out of its folder; do not trust this archive")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{archive}: entry {name!r} is a link or device; do not trust this archive")
        if member.is_dir() or "__MACOSX" in path.parts:
            continue
        if path in members:
            raise UserError(f"{archive}: entry {name!r} is there twice; do not trust this archive")
        members[path] = member
    tops = {path.parts[:1] for path in members}
    if len(tops) == 1 and all(len(path.parts) > 1 for path in members):
        return {PurePosixPath(*path.parts[1:]): member for path, member in members.items()}
    return members


def _check_room(
    file: zipfile.ZipFile, members: Mapping[PurePosixPath, zipfile.ZipInfo], archive: Path, folder: Path
) -> None:
    if sum(member.compress_size for member in file.infolist()) > archive.stat().st_size:
        raise UserError(f"{archive}: its entries overlap; do not trust this archive")
    needed = sum(member.file_size for member in members.values())
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"{archive}: unpacks to {in_words(needed)}, but {folder.parent} has room for {in_words(free)};"
            " make room there or choose another folder with LDSMC_CACHE"
        )


def _extract(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """zipfile never reads more of an entry than the size it declares, and raises where its checksum is another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with file.open(member) as packed, path.open("xb") as unpacked:
        shutil.copyfileobj(packed, unpacked, _CHUNK)

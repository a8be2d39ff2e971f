"""Unpacking archives, hostile ones too: everything inside one folder, or nothing."""

import io
import shutil
import stat
import struct
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.check import unpack

Entry = str | zipfile.ZipInfo


def zipped(path: Path, *entries: tuple[Entry, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data, method)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def everything(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("top", ["", "ffhq256/", "a/b/"])
def test_an_archive_is_unpacked_without_the_folder_around_it(tmp_path, top):
    archive = zipped(
        tmp_path / "a.zip",
        (f"{top}model.ckpt", b"weights" * 1000),
        (f"{top}notes/readme.txt", b"read"),
        ("__MACOSX/._model.ckpt", b"litter"),
    )
    if top == "a/b/":  # one folder is a wrapping, two are a structure
        with pytest.raises(UserError, match=r"holds no model.ckpt, but b;"):
            unpack(archive, tmp_path / "out", "model.ckpt")
        return
    folder = unpack(archive, tmp_path / "out", "model.ckpt")
    assert everything(folder) == {"model.ckpt": b"weights" * 1000, "notes/readme.txt": b"read"}


@pytest.mark.parametrize(
    "entry", ["../escaped", "deep/../../escaped", "{tmp_path}/escaped", "..\\escaped", "C:escaped"]
)
def test_nothing_of_an_archive_that_leads_out_is_written(tmp_path, entry):
    archive = zipped(tmp_path / "a.zip", ("model.ckpt", b"weights"), (entry.format(tmp_path=tmp_path), b"/etc"))
    with pytest.raises(UserError, match="leads out of its folder"):
        unpack(archive, tmp_path / "cache" / "out", "model.ckpt")
    assert everything(tmp_path) == {"a.zip": archive.read_bytes()}


def test_a_link_becomes_a_file(tmp_path):
    """So that nothing that follows is written, or read, through it."""
    archive = zipped(tmp_path / "a.zip", ("model.ckpt", b"weights"), (special("link", stat.S_IFLNK | 0o777), b"/etc"))
    folder = unpack(archive, tmp_path / "out", "model.ckpt")
    assert everything(folder) == {"model.ckpt": b"weights", "link": b"/etc"}
    assert not (folder / "link").is_symlink()


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """A bomb of the overlapping kind: many entries in the directory, one kernel of data."""
    path = zipped(tmp_path / "a.zip", ("model.ckpt", bytes(10**6)))
    with zipfile.ZipFile(path, "a") as file:
        first = file.infolist()[0]
        for number in range(20):
            again = zipfile.ZipInfo(f"{number}.ckpt")
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, name, getattr(first, name))
            file.filelist.append(again)
        file._didModify = True
    with pytest.raises(UserError, match="is damaged"):
        unpack(path, tmp_path / "out", "model.ckpt")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_declares_more_than_the_disk_holds_is_not_begun(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", ("model.ckpt", bytes(10**7)))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 10**7 - 1))
    with pytest.raises(UserError, match=r"unpacks to 10 MB, but .* LDSMC_CACHE"):
        unpack(archive, tmp_path / "out", "model.ckpt")
    assert not (tmp_path / "out").exists()


def test_an_entry_never_grows_past_what_it_declares(tmp_path):
    """A directory that lies: it declares 10 bytes where the data unpacks to a million."""
    archive = zipped(tmp_path / "a.zip", ("model.ckpt", bytes(10**6)))
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 10**6), struct.pack("<L", 10)))
    with pytest.raises(UserError, match="damaged"):
        unpack(archive, tmp_path / "out", "model.ckpt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("harm", ["truncated", "flipped", "no zip", "empty"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(tmp_path, harm):
    data = bytearray(zipped(tmp_path / "a.zip", ("model.ckpt", bytes(range(256)) * 40), method=0).read_bytes())
    if harm == "truncated":
        del data[5000:]
    elif harm == "flipped":
        data[5000] ^= 1
    else:
        data = bytearray(b"" if harm == "empty" else b"PK is not enough")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match="damaged or no zip archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out", "model.ckpt")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_itself_a_zip_is_not_taken_for_the_archive(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", b"")
    (tmp_path / "model.ckpt").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"holds no model.ckpt, but data.pkl"):
        unpack(tmp_path / "model.ckpt", tmp_path / "out", "model.ckpt")

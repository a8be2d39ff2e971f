"""Publication on file systems that are not quite what POSIX promises."""

import errno
import os
import stat

import numpy as np
import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import publish, replace, writing
from ldsmc_bench.records.store import keep, read, read_image
from tests.records.kept import hidden, picture, row


def kind(descriptor):
    return "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"


def answering(code):
    def answer(*arguments):
        raise OSError(code, os.strerror(code))

    return answer


def test_the_first_writer_wins_or_the_last(tmp_path):
    path = tmp_path / "file"
    assert [publish(path, b"first"), publish(path, b"second")] == [True, False]
    assert path.read_bytes() == b"first"
    replace(path, b"third")
    assert path.read_bytes() == b"third"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_next_file(store, monkeypatch):
    calls = []
    link = os.link
    monkeypatch.setattr(os, "fsync", lambda file: calls.append(kind(file)))
    monkeypatch.setattr(os, "link", lambda source, target: calls.append(target.name) or link(source, target))
    keep(store, row("a"), picture("a"))
    assert calls == ["file", "a.png", "folder", "file", "a.json", "folder"]


def test_a_link_whose_answer_was_lost_is_still_ours(tmp_path, monkeypatch):
    link = os.link

    def link_and_lose_the_answer(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_and_lose_the_answer)
    assert publish(tmp_path / "file", b"ours")
    assert (tmp_path / "file").read_bytes() == b"ours"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links(store, monkeypatch, code):
    monkeypatch.setattr(os, "link", answering(code))
    keep(store, row("b", "failed"))
    for name in "a", "b":
        assert keep(store, row(name), picture(name))
        assert not keep(store, row(name, writer="late"), picture(name, "late"))
        assert not keep(store, row(name, "failed"))
        assert np.array_equal(read_image(store, name), picture(name))
    assert read(store) == [row("a"), row("b")]
    assert not [name for name in hidden(store) if name.endswith(".tmp")]


def test_a_file_system_that_cannot_sync_a_folder(store, monkeypatch):
    refuse = answering(errno.EINVAL)
    monkeypatch.setattr(os, "fsync", lambda file: refuse() if kind(file) == "folder" else None)
    assert keep(store, row("a"), picture("a"))
    assert read(store) == [row("a")]


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_any_other_error_is_told(store, monkeypatch, call):
    monkeypatch.setattr(os, call, answering(errno.EIO))
    with pytest.raises(UserError, match=r"Input/output error.*results_dir"):
        keep(store, row("a"), picture("a"))
    assert read(store) == []
    assert hidden(store) == []


def test_the_line_names_the_folder_and_hides_no_other_error(tmp_path):
    with pytest.raises(UserError, match=f"cannot write in {tmp_path} "), writing(tmp_path):
        replace(tmp_path / "absent" / "file", b"")
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError

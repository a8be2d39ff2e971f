"""The cache: a checkpoint is converted once, whatever happens in between, and its digest is computed once."""

import errno
import json
import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench.checkpoints import cache
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import cache_folder, replacing

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    return path


def unexpected() -> dict[str, Tensor]:
    raise AssertionError("converted again")


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[key], TENSORS[key]) for key in found)


def test_the_folder_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LDSMC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/ldsmc_bench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache_folder() == Path("/home/user/.cache/ldsmc_bench")


def test_the_second_load_converts_nothing(source):
    assert same(cache.converted(source, "layout", lambda: TENSORS))
    assert same(cache.converted(source, "layout", unexpected))


def test_what_is_kept_is_memory_mapped(source):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    cache.converted(source, "layout", lambda: TENSORS)
    held = cache.converted(source, "layout", unexpected)
    (kept,) = (cache_folder() / "converted").iterdir()
    assert str(kept) in maps.read_text()
    del held
    assert str(kept) not in maps.read_text()


def test_another_layout_and_another_content_are_converted_apart(source):
    cache.converted(source, "layout", lambda: TENSORS)
    other = {"c": torch.ones(1)}
    assert cache.converted(source, "other layout", lambda: other).keys() == {"c"}
    source.write_bytes(b"two")  # of the same size
    assert cache.converted(source, "layout", lambda: other).keys() == {"c"}
    source.write_bytes(b"one")
    assert same(cache.converted(source, "layout", unexpected))


def test_a_damaged_copy_is_made_anew(source):
    cache.converted(source, "layout", lambda: TENSORS)
    (kept,) = (cache_folder() / "converted").iterdir()
    for size in (0, 4, kept.stat().st_size - 1):
        os.truncate(kept, size)
        assert same(cache.converted(source, "layout", lambda: TENSORS))


def test_a_conversion_that_fails_leaves_nothing(source):
    with pytest.raises(AssertionError, match="converted again"):
        cache.converted(source, "layout", unexpected)
    assert not list(cache_folder().glob("converted/*"))
    assert not list(cache_folder().glob("**/.*"))


def test_views_of_a_larger_tensor_are_kept_alone(source):
    whole = torch.arange(1000.0).reshape(10, 100)
    kept = cache.converted(source, "layout", lambda: {"column": whole[:, 3]})
    assert torch.equal(kept["column"], whole[:, 3])
    assert sum(path.stat().st_size for path in cache_folder().glob("converted/*")) < 1000


def test_the_digest_is_computed_once_for_each_content(source, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(cache, "file_digest", lambda path: read.append(path) or path.read_text())
    assert [cache.known_digest(source) for _ in range(3)] == ["one"] * 3
    assert len(read) == 1
    os.utime(source, (1.1e9, 1.1e9))
    assert cache.known_digest(source) == "one"
    assert len(read) == 2
    source.write_bytes(b"three")
    os.utime(source, (1.1e9, 1.1e9))  # another size, the same time
    assert cache.known_digest(source) == "three"


def test_a_file_that_has_just_changed_is_read_again(source):
    """Its time stamp may be that of another content a moment ago."""
    digests = []
    for content in (b"one", b"two"):
        source.write_bytes(content)
        os.utime(source)
        digests.append(cache.known_digest(source))
    assert digests[0] != digests[1]
    assert not list(cache_folder().glob("digests/*"))


def test_a_damaged_note_is_no_note(source):
    digest = cache.known_digest(source)
    (note,) = cache_folder().glob("digests/*")
    for text in ("", "{", "[]", json.dumps({**json.loads(note.read_text()), "sha256": None, "size": 4})):
        note.write_text(text)
        assert cache.known_digest(source) == digest


def test_an_absent_file_is_named(source):
    with pytest.raises(UserError, match=r"other\.ckpt: cannot be read"):
        cache.known_digest(source.with_name("other.ckpt"))


def test_a_cache_that_cannot_be_written_is_done_without_after_one_warning(source, monkeypatch, capsys):
    monkeypatch.setenv("LDSMC_CACHE", str(source / "folder"))  # below a file
    for _ in range(2):
        assert same(cache.converted(source, "layout", lambda: TENSORS))
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("warning: ") and "choose another folder with LDSMC_CACHE" in line and "anew each time" in line
    )


def test_what_must_be_kept_and_cannot_be_is_named(source):
    with (
        pytest.raises(UserError, match=r"choose another folder with LDSMC_CACHE") as refusal,
        replacing(source / "x"),
    ):
        pass
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_modes_of_the_umask(source, umask, mode):
    before = os.umask(umask)
    try:
        cache.converted(source, "layout", lambda: TENSORS)
    finally:
        os.umask(before)
    made = [path for path in cache_folder().rglob("*") if path.is_file()]
    assert {path.parent.name for path in made} == {"converted", "digests"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {mode}


def as_another(user: int, group: int, umask: int, work: Callable[[], object]) -> None:
    """Run `work` as another user, where this one may become any."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(umask)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def shared(source, monkeypatch, tmp_path_factory) -> Path:
    """The checkpoint, and a cache folder where a group may write, in a place that all can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("LDSMC_CACHE", str(folder / "cache"))
    path = folder / source.name
    shutil.copy2(source, path)
    (folder / "cache").mkdir()
    os.chown(folder / "cache", -1, 7000)
    (folder / "cache").chmod(0o2775)
    folder.chmod(0o755)
    yield path
    shutil.rmtree(folder)


def test_a_group_shares_and_others_read(shared):
    """What one of the group has converted, a second one and a stranger read; neither converts it again."""
    as_another(7001, 7000, 0o002, lambda: cache.converted(shared, "layout", lambda: TENSORS))
    for user, group in ((7002, 7000), (7003, 7003)):
        as_another(user, group, 0o002, lambda: cache.converted(shared, "layout", unexpected))
        as_another(user, group, 0o002, lambda: same(cache.converted(shared, "other", lambda: TENSORS)) or unexpected())


def test_what_another_keeps_for_himself_stops_nobody(shared):
    """A stranger reads nothing of it and makes his own; one of the group replaces it, and both go on."""
    as_another(7001, 7000, 0o077, lambda: cache.converted(shared, "layout", lambda: TENSORS))
    for folder in ("converted", "digests"):
        (cache_folder() / folder).chmod(0o2775)
    as_another(7003, 7003, 0o022, lambda: same(cache.converted(shared, "layout", lambda: TENSORS)) or unexpected())
    as_another(7002, 7000, 0o002, lambda: cache.converted(shared, "layout", lambda: TENSORS))
    as_another(7001, 7000, 0o002, lambda: cache.converted(shared, "layout", unexpected))


def test_a_disk_that_fills_up_is_done_without(source, monkeypatch, capsys):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(next(names)))

    names = count()

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        assert same(cache.converted(source, "layout", lambda: TENSORS))
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]

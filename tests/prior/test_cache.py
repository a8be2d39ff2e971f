"""The cache: a checkpoint is converted once, whatever happens in between, and its digest is computed once."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import cache

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
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("LDSMC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.cache_folder() == Path("/elsewhere/ldsmc_bench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache.cache_folder() == Path("/home/user/.cache/ldsmc_bench")


def test_the_second_load_converts_nothing(source):
    assert same(cache.converted(source, "layout", lambda: TENSORS))
    assert same(cache.converted(source, "layout", unexpected))


def test_what_is_kept_is_memory_mapped(source):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    cache.converted(source, "layout", lambda: TENSORS)
    held = cache.converted(source, "layout", unexpected)
    (kept,) = (cache.cache_folder() / "converted").iterdir()
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
    (kept,) = (cache.cache_folder() / "converted").iterdir()
    for size in (0, 4, kept.stat().st_size - 1):
        os.truncate(kept, size)
        assert same(cache.converted(source, "layout", lambda: TENSORS))


def test_a_conversion_that_fails_leaves_nothing(source):
    with pytest.raises(AssertionError, match="converted again"):
        cache.converted(source, "layout", unexpected)
    assert not list(cache.cache_folder().glob("converted/*"))
    assert not list(cache.cache_folder().glob("**/.*"))


def test_views_of_a_larger_tensor_are_kept_alone(source):
    whole = torch.arange(1000.0).reshape(10, 100)
    kept = cache.converted(source, "layout", lambda: {"column": whole[:, 3]})
    assert torch.equal(kept["column"], whole[:, 3])
    assert sum(path.stat().st_size for path in cache.cache_folder().glob("converted/*")) < 1000


def test_the_digest_is_computed_once_for_each_content(source, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(cache, "digest", lambda path: read.append(path) or path.read_text())
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
    assert not list(cache.cache_folder().glob("digests/*"))


def test_a_damaged_note_is_no_note(source):
    digest = cache.known_digest(source)
    (note,) = cache.cache_folder().glob("digests/*")
    for text in ("", "{", "[]", json.dumps({**json.loads(note.read_text()), "sha256": None, "size": 4})):
        note.write_text(text)
        assert cache.known_digest(source) == digest


def test_an_absent_file_is_named(source):
    with pytest.raises(UserError, match=r"other\.ckpt: cannot be read"):
        cache.known_digest(source.with_name("other.ckpt"))


def test_a_cache_that_cannot_be_written_is_named(source, monkeypatch):
    monkeypatch.setenv("LDSMC_CACHE", str(source / "folder"))  # below a file
    with pytest.raises(UserError, match=r"choose another folder with LDSMC_CACHE") as refusal:
        cache.converted(source, "layout", lambda: TENSORS)
    assert "\n" not in str(refusal.value)

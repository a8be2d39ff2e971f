"""The view of a run's records: it always says what the records say, whatever became of it."""

import json
import os
from pathlib import Path

import pytest

from ldsmc_bench.records import view
from ldsmc_bench.records.store import Store, keep
from ldsmc_bench.records.view import Tally, rows, tally
from tests.records.kept import picture, row


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder counts as settled at once: no test waits for the clock."""
    monkeypatch.setattr(view, "TICK", -1_000_000_000)
    monkeypatch.setattr(view, "COARSE_TICK", -1_000_000_000)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose records were read, one by one."""
    runs = []

    def counted(store: Store) -> list:
        runs.append(store.run_id)
        return read(store)

    read = view.read
    monkeypatch.setattr(view, "read", counted)
    return runs


def view_of(store: Store) -> Path:
    return store.root.parent / ".view" / f"{store.run_id}.parquet"


def test_rows_are_what_the_records_say(store):
    one, failed = row("a"), row("b", "failed")
    one["truth"] = "0123456789abcdef"
    one["metrics"], one["diagnostics"] = {"psnr": 21.5, "gap": None}, {"ess": [1.0, 2.0, 4.5], "writer": "me", "tau": 3}
    keep(store, one, picture("a"))
    keep(store, failed)
    table = rows(store).to_pydict()
    assert table == {
        "image_id": ["a", "b"],
        "status": ["ok", "failed"],
        "error": [None, "out of memory"],
        "metrics.psnr": [21.5, None],
        "metrics.gap": [None, None],
        "cost.unet_forward": [100.0, 100.0],
        "diagnostics.ess": [2.5, None],
        "steps.ess": [[1.0, 2.0, 4.5], None],
        "diagnostics.writer": [None, None],
        "steps.writer": [None, None],
        "diagnostics.tau": [3.0, None],
        "steps.tau": [[3.0], None],
        "truth": ["0123456789abcdef", None],
    }
    assert rows(store).to_pydict() == table  # from the file this time
    assert rows(store, ["image_id", "steps.ess", "no_such"]).column_names == ["image_id", "steps.ess"]


def test_records_are_read_again_only_when_they_changed(store, readings):
    keep(store, row("a"), picture("a"))
    keep(store, row("b", "failed"))
    for _ in range(3):
        assert tally(store) == Tally(1, 1, 0, None) and rows(store).num_rows == 2
    assert len(readings) == 1
    keep(store, row("b"), picture("b"))  # a failure becomes a success
    keep(store, row("c", "skipped", error="needs a mask"))
    for _ in range(3):
        assert tally(store) == Tally(2, 0, 1, "needs a mask")
    assert len(readings) == 2


def test_a_record_that_was_removed_is_gone(store):
    keep(store, row("a"), picture("a"))
    assert tally(store).total == 1
    (store.root / "records" / "a.json").unlink()
    assert tally(store).total == 0 and rows(store).num_rows == 0


def test_a_folder_that_has_just_changed_is_read_but_the_reading_is_not_kept(store, readings, monkeypatch):
    monkeypatch.setattr(view, "TICK", 10**15)
    monkeypatch.setattr(view, "COARSE_TICK", 10**15)
    keep(store, row("a"), picture("a"))
    assert [tally(store).ok for _ in range(2)] == [1, 1]
    assert len(readings) == 2 and not (view_of(store)).exists()


def test_a_record_that_comes_while_the_others_are_read_is_not_overlooked(store, monkeypatch):
    keep(store, row("a"), picture("a"))
    read = view.read

    def meanwhile(store: Store) -> list:
        records = read(store)
        keep(store, row("b"), picture("b"))
        return records

    with monkeypatch.context() as patch:
        patch.setattr(view, "read", meanwhile)
        tally(store)
    assert tally(store).ok == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "footer", "page", "other"])
def test_a_damaged_view_is_made_again(store, damage):
    for index in range(50):
        keep(store, row(f"{index:03}"), picture(f"{index:03}"))
    expected = rows(store)
    path = view_of(store)
    data = path.read_bytes()
    path.write_bytes({
        "empty": b"",
        "cut": data[: len(data) // 2],
        "footer": data[:-20] + b"\0" * 12 + data[-8:],
        "page": data[:40] + bytes(255 - byte for byte in data[40:60]) + data[60:],
        "other": b"not what was expected",
    }[damage])  # fmt: skip
    assert rows(store).equals(expected) and rows(store, ["image_id"]).equals(expected.select(["image_id"]))
    assert tally(store).ok == 50


def test_a_view_copied_beside_other_records_is_not_believed(store, tmp_path):
    """As rsync leaves it: the view of one machine beside the records of two, with the folder's time set back."""
    keep(store, row("a"), picture("a"))
    assert tally(store).ok == 1
    folder = store.root / "records"
    before = os.stat(folder)
    (folder / "b.json").write_text(json.dumps(row("b")))
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tally(store).ok == 2


def test_a_folder_that_cannot_be_written_is_read_all_the_same(store, monkeypatch):
    keep(store, row("a"), picture("a"))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for what in ("mkdir", "touch"):
        monkeypatch.setattr(Path, what, refused)
    assert tally(store).ok == 1 and rows(store).num_rows == 1


def test_a_full_disk_is_no_obstacle(store, monkeypatch):
    keep(store, row("a"), picture("a"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(view.pq, "write_table", full)
    assert tally(store).ok == 1
    assert list(view_of(store).parent.iterdir()) == []

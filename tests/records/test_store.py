"""The store: what is kept is read again, nothing finished is touched, bad input and a bad disk are told in one line."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.records import store as store_module
from ldsmc_bench.records.pictures import png
from ldsmc_bench.records.record import glance, is_done
from ldsmc_bench.records.store import (
    MERGED,
    finished,
    glances_of_draws,
    image_path,
    keep,
    of_draw,
    open_store,
    outcomes,
    read,
    read_image,
    read_spread,
    read_summary,
    record_path,
    runs,
    set_aside,
    spread_path,
    write_summary,
)
from ldsmc_bench.records.view import rows, tally
from tests.records.kept import RUN, hidden, picture, row, snapshot


def test_the_layout_is_the_contract(tmp_path, store):
    keep(store, row("00007"), picture("00007"))
    write_summary(store, {"psnr": 21.5})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    names = ["config.yaml", "images/00007.png", "records/00007.json", "summary.json"]
    assert files == [f"runs/{RUN}/{name}" for name in names]
    assert json.loads((tmp_path / files[2]).read_text()) == row("00007")
    assert json.loads((tmp_path / files[3]).read_text()) == {"psnr": 21.5}
    assert np.array_equal(np.array(Image.open(tmp_path / files[1])), picture("00007"))


def test_what_is_kept_is_read_again(store):
    for name in "b", "a", "c":
        assert keep(store, row(name), picture(name))
    assert read(store) == [row("a"), row("b"), row("c")]
    assert read(store, ["c", "absent", "a"]) == [row("c"), row("a")]
    assert read(store, []) == [] and finished(store, []) == set()
    assert finished(store, ["absent", "b"]) == {"b"}
    assert all(np.array_equal(read_image(store, name), picture(name)) for name in "abc")


def test_a_seed_past_64_bits_is_kept_whole_and_text_that_is_no_unicode_is_read_as_text(store):
    """A path in an error may hold what is no UTF-8."""
    kept = {**row("a", "failed", error="no such file: \udcff.png"), "seed": 2**70}
    keep(store, kept)
    keep(store, {**row("b"), "seed": 2**70})
    assert read(store) == [{**kept, "error": "no such file: \\udcff.png"}, {**row("b"), "seed": 2**70}]
    assert outcomes(store) == {"a": "failed", "b": "ok"}


def test_the_first_success_stands(store):
    assert keep(store, row("a", writer="first"), picture("a", "first"))
    before = snapshot(store)
    assert not keep(store, row("a", writer="second"), picture("a", "second"))
    assert not keep(store, row("a", "failed"))
    assert snapshot(store) == before
    assert hidden(store) == []


def test_a_failure_is_told_tried_again_and_replaced(store):
    assert keep(store, row("a", "failed", error="out of memory"))
    assert outcomes(store) == {"a": "failed"} and finished(store) == set()
    assert keep(store, row("a", "failed", error="not a picture"))
    assert read(store) == [row("a", "failed", error="not a picture")]
    assert keep(store, row("a"), picture("a"))
    assert read(store) == [row("a")] and finished(store) == {"a"}
    before = snapshot(store)
    assert not keep(store, row("a", "failed")) and not keep(store, row("a", writer="late"), picture("a", "late"))
    assert snapshot(store) == before


def test_a_success_covered_by_a_killed_writers_failure_is_found_on_opening(tmp_path, store):
    keep(store, row("a", "failed"))
    keep(store, row("a"), picture("a"))
    record_path(store, "a").unlink()
    record_path(store, "a").write_text(json.dumps(row("a", "failed")))
    assert open_store(tmp_path, RUN, "steps: 100\n") == store
    assert read(store) == [row("a")]


def test_a_record_that_the_user_removed_is_made_anew(tmp_path, store):
    keep(store, row("a", "failed"))
    keep(store, row("a"), picture("a"))
    record_path(store, "a").unlink()
    for _ in range(2):
        open_store(tmp_path, RUN, "steps: 100\n")
        keep(store, row("a", writer="anew"), picture("a", "anew"))
        assert read(store) == [row("a", writer="anew")]
        assert np.array_equal(read_image(store, "a"), picture("a", "anew"))


def test_the_picture_of_a_killed_process_gives_way_to_the_picture_of_the_record(store):
    other = png(picture("a", "killed"))
    image_path(store, "a").write_bytes(other)
    assert keep(store, row("a"), picture("a"))
    assert np.array_equal(read_image(store, "a"), picture("a"))


def test_the_spread_of_particles_is_kept_beside_the_picture_of_the_record(store):
    assert read_spread(store, "a") is None
    first, second = (np.full((8, 8), value, np.uint8) for value in (3, 200))
    assert keep(store, row("a"), picture("a"), first)
    assert not keep(store, row("a"), picture("a"), second)
    assert np.array_equal(read_spread(store, "a"), first)
    spread_path(store, "a").write_bytes(b"damaged")
    assert read_spread(store, "a") is None


@pytest.mark.parametrize("text", ["", "{", json.dumps(row("a"))[:-1], "[]", '{"run_id": "x"}', "\udcff"])
def test_an_incomplete_record_does_not_count_and_is_made_anew(store, text):
    record_path(store, "a").write_bytes(text.encode(errors="surrogateescape"))
    assert outcomes(store) == {} and read(store) == []
    assert keep(store, row("a"), picture("a"))
    assert read(store) == [row("a")]


def test_temporary_files_of_killed_processes_are_no_results(store):
    for name in ".a.json.123-abc.tmp", ".b.json", "notes.txt":
        (store.root / "records" / name).write_text(json.dumps(row("a")))
    assert outcomes(store) == {} and read(store) == []


def test_the_same_picture_makes_the_same_bytes_and_no_more(store):
    for name in "a", "b":
        keep(store, row(name), picture("same"))
    first, second = image_path(store, "a").read_bytes(), image_path(store, "b").read_bytes()
    assert first == second
    chunks, position = [], 8
    while position < len(first):
        chunks.append(first[position + 4 : position + 8])
        position += 12 + int.from_bytes(first[position : position + 4])
    assert chunks == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("bad", ["../a", "a/b", "a\\b", "", ".", "..", ".a", "a\0b", "a\nb", "x" * 201, "é" * 101])
def test_an_id_that_cannot_name_a_file_is_refused(store, bad):
    with pytest.raises(ValueError, match="cannot name a file"):
        keep(store, row(bad), picture("a"))
    assert hidden(store) == [] and outcomes(store) == {}


def test_a_long_id_is_kept(store):
    assert keep(store, row("x" * 200, "failed")) and keep(store, row("x" * 200), picture("x"))
    assert finished(store) == {"x" * 200}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"psnr": float("nan")}}, "record of a cannot be kept as JSON.*float"),
        ({"diagnostics": {"ess": np.zeros(2)}}, "record of a cannot be kept as JSON.*ndarray"),
        ({"status": "done"}, "ok, or failed"),
        ({"status": "failed"}, "failed or skipped with an error"),
        ({"error": "but it is ok"}, "failed or skipped with an error"),
        ({"run_id": "another"}, "belongs to run another"),
    ],
)
def test_a_record_that_is_not_as_promised_is_refused(store, change, message):
    with pytest.raises(ValueError, match=message):
        keep(store, {**row("a"), **change}, picture("a"))
    assert outcomes(store) == {} and not image_path(store, "a").exists()


def test_a_record_that_lacks_something_is_refused(store):
    record = row("a")
    del record["cost"], record["seed"]
    with pytest.raises(ValueError, match="lacks cost, seed"):
        keep(store, record)


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)])
def test_a_picture_that_is_not_as_promised_is_refused(store, bad):
    with pytest.raises(ValueError, match="uint8"):
        keep(store, row("a"), bad)
    assert outcomes(store) == {}


def test_a_picture_that_is_absent_or_damaged_is_named(store):
    keep(store, row("a"), picture("a"))
    path = image_path(store, "a")
    for content in (b"", b"no picture", path.read_bytes()[:60], None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.png is absent or damaged.*a\.json"):
            read_image(store, "a")
    (store.root / MERGED).touch()
    with pytest.raises(UserError, match=r"a\.png was not published: publish the run again with pictures=all"):
        read_image(store, "a")


@pytest.mark.parametrize(
    "same", ["steps: 100", "# commit 731db04\n\nsteps: 100 # many\n", "steps: 100.0", "{steps: 1.e+2}"]
)
def test_opening_again_changes_nothing(tmp_path, store, same):
    keep(store, row("a"), picture("a"))
    before = snapshot(store)
    assert open_store(tmp_path, RUN, same) == store
    assert snapshot(store) == before and hidden(store) == []


@pytest.mark.parametrize("other", ["steps: 101\n", "steps: '100'\n", "steps: 100\nseed: 0\n", ""])
def test_another_configuration_under_the_same_id_is_refused(tmp_path, store, other):
    with pytest.raises(UserError, match=r"internal error: .*config\.yaml"):
        open_store(tmp_path, RUN, other)
    assert (store.root / "config.yaml").read_text() == "steps: 100\n"


def test_a_configuration_that_was_damaged_is_told(tmp_path, store):
    (store.root / "config.yaml").write_text("steps: {")
    with pytest.raises(UserError, match=r"internal error: .*config\.yaml"):
        open_store(tmp_path, RUN, "steps: 100\n")


def test_the_summary_is_replaced_only_by_another(store):
    write_summary(store, {"psnr": 21.5})
    before = snapshot(store)
    write_summary(store, {"psnr": 21.5})
    assert snapshot(store) == before
    write_summary(store, {"psnr": 22.0})
    assert json.loads((store.root / "summary.json").read_text()) == {"psnr": 22.0} and hidden(store) == []


def test_the_runs_of_a_results_folder(tmp_path, store):
    other = open_store(tmp_path, "another-run", "steps: 1\n")
    (tmp_path / "runs" / "not-a-run").mkdir()
    assert runs(tmp_path) == [other, store]
    assert runs(store.root) == []
    with pytest.raises(UserError, match=r"results_dir=.*absent"):
        runs(tmp_path / "absent")


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", Path("/proc/results")):
        with pytest.raises(UserError, match=rf"^results_dir: cannot write in {folder}.*results_dir=") as caught:
            open_store(folder, RUN, "steps: 100\n")
        assert "\n" not in str(caught.value)


def test_a_folder_that_became_read_only_is_told_before_any_sampling(tmp_path, store, monkeypatch):
    monkeypatch.setattr("builtins.open", _refusing(open, errno.EROFS))
    with pytest.raises(UserError, match=r"Read-only file system.*results_dir"):
        open_store(tmp_path, RUN, "steps: 100\n")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_nothing_is_lost(store, monkeypatch, code):
    keep(store, row("a"), picture("a"))
    keep(store, row("b", "failed"))
    before = snapshot(store)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _refusing(os.fsync, code))
        for record in row("b"), row("c"), row("c", "failed"):
            with pytest.raises(UserError, match=f"cannot write in {store.root}.*free some space"):
                keep(store, record, picture("c"))
        with pytest.raises(UserError, match="free some space"):
            write_summary(store, {})
    assert snapshot(store) == before and hidden(store) == []
    assert keep(store, row("c"), picture("c")) and finished(store) == {"a", "c"}


def _refusing(function, code):
    """The function of a file system that answers `code` to every write."""

    def refuse(path, mode="w", *arguments, **options):
        if "r" in mode:
            return function(path, mode, *arguments, **options)
        raise OSError(code, os.strerror(code))

    return refuse


FILL_A_SMALL_DISK = """
import sys
from pathlib import Path
from tests.records.kept import *
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.store import *

ballast = Path(sys.argv[1], "ballast")
ballast.write_bytes(bytes(100_000))
store = open_store(sys.argv[1], RUN, "steps: 100")
kept = []
try:
    for index in range(1000):
        keep(store, row(str(index)), picture(str(index)))
        kept.append(str(index))
except UserError as error:
    assert "No space left on device" in str(error) and "free some space" in str(error), error
assert 10 < len(kept) < 1000 and finished(store) == set(kept) and hidden(store) == []
before = snapshot(store)
ballast.unlink()
more = [str(index) for index in range(len(kept) + 5)]
for image_id in more:
    keep(store, row(image_id), picture(image_id))
assert finished(store) == set(more) and before.items() <= snapshot(store).items()
assert all((read_image(store, image_id) == picture(image_id)).all() for image_id in more)
print("all is well")
"""


def test_a_disk_that_is_really_full(tmp_path):
    private_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.call([*private_mounts, "true"], stderr=subprocess.DEVNULL):
        pytest.skip("this machine lets no user mount a small disk of his own")
    script = tmp_path / "fill.py"
    script.write_text(FILL_A_SMALL_DISK)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=600k none {disk} && exec "$@"'
    command = [*private_mounts, "sh", "-c", mount, "sh", sys.executable, str(script), str(disk)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=here)
    assert done.stdout == "all is well\n", done.stderr


def test_images_without_a_record_cost_nothing_to_look_for(store, monkeypatch):
    for name in "a", "b":
        keep(store, row(name), picture(name))
    looks = []
    monkeypatch.setattr(store_module, "glance", lambda path: looks.append(path) or glance(path))
    assert finished(store, [f"absent-{index}" for index in range(10_000)] + ["b"]) == {"b"}
    assert len(looks) == 1


def test_records_that_are_not_of_their_file_or_run_count_for_nothing(store, capsys):
    """As file managers copy them, within a run and from run to run."""
    for name in "a", "b":
        keep(store, row(name), picture(name))
    folder = store.root / "records"
    (folder / "a (1).json").write_bytes((folder / "a.json").read_bytes())
    (folder / "c.json").write_text(json.dumps({**row("c"), "run_id": "another"}))
    assert list(outcomes(store)) == [record["image_id"] for record in read(store)] == ["a", "b"]
    assert tally(store).ok == rows(store).num_rows == 2
    warnings = capsys.readouterr().err
    assert f"{folder / 'a (1).json'} is a record of a" in warnings and "records of run another" in warnings
    assert keep(store, row("c"), picture("c")) and finished(store) == {"a", "b", "c"}


def test_a_row_set_aside_is_made_anew_and_the_former_one_is_kept(store):
    keep(store, row("a", "failed"))
    keep(store, row("a"), picture("a"), picture("a")[..., 0])
    write_summary(store, {"n": 1})
    set_aside(store, "a", "0123")
    assert finished(store) == set() and read_summary(store) is None
    assert sorted(path.name for path in (store.root / "replaced").iterdir()) == [
        "a.0123.json",
        "a.0123.png",
        "a.0123.spread.png",
    ]
    assert keep(store, row("a", writer="new"), picture("a", "new"))
    open_store(store.root.parent.parent, store.run_id, "steps: 100\n")
    assert [record["diagnostics"] for record in read(store)] == [{"writer": "new"}]


@pytest.mark.slow
@pytest.mark.parametrize("draws", [1, 16])
def test_a_hundred_thousand_finished_draws_are_found_at_once(store, draws):
    wanted = [Draw(f"{index:06}", number) for number in range(draws) for index in range(100_000 // draws)]
    for image_id, number in wanted:
        record = {**row(image_id), "draw": number, "diagnostics": {"ess": [5 / (step + 1) for step in range(100)]}}
        folder = of_draw(store, number).folder / "records"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{image_id}.json").write_text(json.dumps(record))
    start = time.monotonic()
    assert sum(is_done(one, 1) for one in glances_of_draws(store, wanted).values()) == 100_000
    assert time.monotonic() - start < 30  # 3 seconds on a laptop

"""The status command: done, missing and failed images of each run, from the store alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ldsmc_bench.commands.status import main
from ldsmc_bench.errors import UserError
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.status import Request, RunStatus, request, requested, statuses, table
from ldsmc_bench.records.store import keep, open_store
from ldsmc_bench.records.view import rows
from ldsmc_bench.report import frame
from tests.records.kept import RUN, hidden, picture, row, snapshot

WANTED = Request((10,), RunLabels("ldsmc", "freeform", "toyfaces", particles=5, steps=100, seed=0))
STATUS = RunStatus(RUN, WANTED.labels, done=0, missing=10, failed=0, skipped=0, complete=False)


def fill(store, ok=0, failed=0):
    for index in range(ok):
        keep(store, row(f"{index:04}"), picture(f"{index:04}"))
    for index in range(ok, ok + failed):
        keep(store, row(f"{index:04}", "failed"))


@pytest.mark.parametrize(
    ("ok", "failed", "missing", "complete"),
    [(0, 0, 10, False), (3, 2, 5, False), (9, 1, 0, False), (10, 0, 0, True), (12, 0, 0, True)],
)
def test_images_are_counted_against_what_was_asked_for(tmp_path, store, ok, failed, missing, complete):
    request(store, WANTED)
    fill(store, ok, failed)
    assert statuses(tmp_path) == [replace(STATUS, done=ok, failed=failed, missing=missing, complete=complete)]


def test_what_is_asked_for_only_grows(store):
    for ids, expected in (10, 10), (5, 10), (20, 20), (10, 20):
        request(store, replace(WANTED, images=(ids,)))
        assert requested(store) == replace(WANTED, images=(expected,))
    before = snapshot(store)
    request(store, replace(WANTED, images=(20,)))
    assert snapshot(store) == before and hidden(store) == []


def test_a_record_of_fewer_draws_than_asked_for_is_missing(tmp_path, store):
    """Where a world keeps all draws of an image together, as mixtures do."""
    for index, draws in enumerate((60, 120, 200)):
        keep(store, row(f"{index:04}") | {"draws": draws}, picture(f"{index:04}"))
    keep(store, row("0003", "skipped"))
    for each, ok in ((60, 3), (120, 2), (300, 0)):
        request(store, replace(WANTED, images=(4,), each=each))
        (one,) = statuses(tmp_path)
        assert (one.done, one.missing, one.skipped, one.complete) == (ok, 3 - ok, 1, ok == 3)
        (run,) = frame.runs(tmp_path).to_dict("records")
        assert (run["n"], run["complete"]) == (ok, ok == 3)
    request(store, replace(WANTED, images=(4,), each=60))
    assert requested(store).each == 300  # it only grows
    assert "of_draws" not in rows(store).column_names


def test_no_more_is_asked_for_than_the_data_set_still_has(store):
    request(store, replace(WANTED, images=(4,)), there=4)
    request(store, replace(WANTED, images=(1,)), there=3)  # a picture is gone; this is a quick look
    assert requested(store) == replace(WANTED, images=(3,))


def test_a_request_that_comes_while_another_is_written_is_not_lost(store, monkeypatch):
    link = os.link

    def link_second(source, target):
        monkeypatch.undo()
        request(store, replace(WANTED, images=(20,)))
        link(source, target)

    monkeypatch.setattr("os.link", link_second)
    request(store, WANTED)
    assert requested(store) == replace(WANTED, images=(20,))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": [3]}', '{"images": []}'])
def test_a_damaged_request_is_written_anew(store, text):
    (store.root / "requested.json").write_text(text)
    assert requested(store) is None
    request(store, WANTED)
    assert requested(store) == WANTED


def test_a_request_that_cannot_be_written_is_told(store, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="free some space"):
        request(store, WANTED)


def test_a_run_whose_request_was_lost_is_shown_by_its_records_and_never_complete(tmp_path, store):
    assert statuses(tmp_path) == []
    fill(store, ok=2, failed=1)
    assert statuses(tmp_path) == [replace(STATUS, done=2, failed=1, missing=0)]


def test_the_table(tmp_path, store, capsys):
    request(store, WANTED)
    fill(store, ok=3, failed=2)
    other = open_store(tmp_path, "psld-sr8-faces-00", "steps: 5\n")
    labels = replace(WANTED.labels, method="psld", task="sr8", dataset="faces")
    request(other, Request((1000,), labels))
    assert main(["--results-dir", str(tmp_path)]) == 0
    head, first, second, empty, totals, why = capsys.readouterr().out.splitlines()
    assert head == f"{'run_id':36}  method  task      dataset   steps  particles  seed  done  missing  failed  skipped"
    assert first == f"{RUN}  ldsmc   freeform  toyfaces    100          5     0     3        5       2        0"
    sr8 = f"{'psld-sr8-faces-00':36}  psld    sr8       faces   "
    assert second == f"{sr8}    100          5     0     0     1000       0        0"
    assert (empty, totals) == ("", "2 runs, 0 complete: 3 done, 1005 missing, 2 failed, 0 skipped")
    assert why == f"{RUN}: failed out of memory"


def test_a_reason_is_told_once(tmp_path, capsys):
    for name, method in ("a-0", "ddnm"), ("b-0", "ddrm"):
        store = open_store(tmp_path, name, "steps: 5\n")
        request(store, replace(WANTED, labels=replace(WANTED.labels, method=method)))
        keep(store, {**row("a", "skipped", error=f"{method}: it is not linear"), "run_id": name})
    assert main(["--results-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "a-0 and 1 more: skipped it is not linear"


def test_variants_reasons_and_the_time_left_are_shown(tmp_path, store, capsys):
    request(store, replace(WANTED, labels=replace(WANTED.labels, variant="paper")))
    for name, seconds in ("a", 60.0), ("b", 180.0):
        keep(store, {**row(name), "cost": {"seconds": seconds}}, picture(name))
    for name, error in ("c", "out of memory"), ("d", "not finite"), ("e", "out of memory"):
        keep(store, row(name, "failed", error=error))
    assert main(["--results-dir", str(tmp_path)]) == 0
    head, line, *_, why = capsys.readouterr().out.splitlines()
    assert head.split()[7:] == ["variant", "done", "missing", "failed", "skipped", "left"]
    assert line.split()[7:] == ["paper", "2", "5", "3", "0", "10", "min"]  # five times two minutes
    assert why == f"{RUN}: failed out of memory (2 of 3, and 1 other reason)"


def test_the_json_has_one_object_a_run(tmp_path, store, capsys):
    request(store, replace(WANTED, images=(2,)))
    fill(store, ok=2)
    assert main(["--json", "--results-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "run_id": RUN,
            "method": "ldsmc",
            "task": "freeform",
            "dataset": "toyfaces",
            "particles": 5,
            "steps": 100,
            "seed": 0,
            "variant": "default",
            "done": 2,
            "missing": 0,
            "failed": 0,
            "skipped": 0,
            "complete": True,
            "draws": 1,
            "images": None,
            "running": 0,
            "jobs": [],
            "images_per_hour": None,
            "ends": None,
            "seconds_left": None,
            "reasons": {},
        }
    ]


def test_a_folder_without_runs(tmp_path, capsys):
    assert main(["--results-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no runs yet: make run\n"
    assert main(["--results-dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_folder_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    for name in "file", "absent":
        assert main(["--results-dir", str(tmp_path / name)]) == 2
        out, err = capsys.readouterr()
        assert (
            out == ""
            and err.startswith(f"error: results_dir={tmp_path / name} cannot be read")
            and err.count("\n") == 1
        )


def test_a_damaged_store_is_named_and_hides_no_other(tmp_path, store, capsys):
    keep(store, row("a"), picture("a"))
    (store.root / "records" / "b.json").mkdir()
    odd = {**row("c"), "metrics": 3}
    (store.root / "records" / "c.json").write_text(json.dumps(odd))
    other = open_store(tmp_path, "half-copied", "seed: 1")
    (other.root / "records").rmdir()
    for one in (store, other):
        request(one, WANTED)
    assert main(["--results-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "half-copied" in out and "1 done" in out
    assert f"warning: {other.root / 'records'} is absent" in err


def test_the_command_needs_neither_torch_nor_hydra_and_reads_results_by_default(tmp_path):
    request(open_store(tmp_path / "results", RUN, "steps: 100\n"), WANTED)
    code = "import sys, runpy; sys.modules |= {'torch': None, 'hydra': None}; "
    code += "runpy.run_module('ldsmc_bench.status', run_name='__main__')"
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=here, capture_output=True, text=True, check=True
    )
    assert "1 run, 0 complete: 0 done, 10 missing, 0 failed, 0 skipped" in done.stdout


def test_a_run_of_which_some_images_have_more_draws_shows_how_many(tmp_path, store):
    request(store, replace(WANTED, images=(3, 3, 2)))
    [row] = statuses(tmp_path)
    assert (row.draws, row.images) == (3, 2)
    assert table([row], {}).splitlines()[1].endswith("3 (2 images)")
    request(store, replace(WANTED, images=(3, 3, 3)))
    assert table(statuses(tmp_path), {}).splitlines()[1].endswith("  3")

"""What may lie in a store beside good runs breaks no command that reports, and changes no number."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ldsmc_bench import toyfaces
from ldsmc_bench.commands import rescore, status
from ldsmc_bench.errors import notify
from ldsmc_bench.records.jobs import Job, keep
from ldsmc_bench.report.figures import __main__ as figures
from ldsmc_bench.report.page import __main__ as page
from ldsmc_bench.report.tables import __main__ as tables
from ldsmc_bench.tracking import __main__ as wandb
from tests.report.stored import stored

IDS = toyfaces.ids("test")[:2]
ODD = "M\udcfcller"  # what Python makes of a file's name that is no UTF-8


def note(results: Path, run: Path, **dataset: Any) -> None:
    """What is known of the command that made a run."""
    load = {"_target_": "ldsmc_bench.toyfaces.dataset.toyfaces", "split": "test"}
    asked = {"n_images": len(IDS), "dataset": {"name": "toyfaces", "load": load, **dataset}, "task": {"name": "box"}}
    keep(results / "launches" / run.name, Job(0, [f"dataset.root={ODD}"], ODD, asked, run.name))


def labelled(run: Path, **labels: Any) -> None:
    """Let a run have these labels, in its request and its records."""
    for path in (run / "requested.json", run / "summary.json", *(run / "records").glob("*.json")):
        path.write_text(json.dumps(json.loads(path.read_text()) | labels))


def good(results: Path) -> Path:
    run = stored(results, "ldsmc", "box", IDS, particles=5)
    note(results, run)
    return run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run in two seeds, among everything that should not be there, in a folder whose name is no UTF-8."""
    results = tmp_path_factory.mktemp("odd") / ODD
    run = good(results)
    note(results, stored(results, "ldsmc", "box", IDS, particles=5, seed=1))
    record = run / "records" / f"{IDS[0]}.json"
    shutil.copy(record, record.with_name(f"{IDS[0]} (1).json"))
    shutil.copy(record, record.with_name(f"{ODD}.json"))
    shutil.copytree(run, run.with_name(f"{ODD} copy"))

    failed = stored(results, "psld", "box", IDS, lost={IDS[1]: f"{ODD}.jpg: no picture"})
    note(results, failed, root=f"/nowhere/{ODD}")
    for number, name in enumerate((False, 7, 1e5, ODD)):
        labelled(stored(results, "mine", "box", IDS, particles=2 + number), method=name, variant=name)
    damaged = results / "launches" / "damaged"
    damaged.mkdir()
    (damaged / "0.json").write_bytes(b'{"number": 0, "overrides": [], "log": "M\xfcller"}')
    (damaged / "1.json").write_text(json.dumps({"number": 1, "overrides": [], "log": "", "run_id": run.name}))
    return results


@pytest.fixture
def quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B without a key; what it changes in the environment is changed back."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def wandb_of_two(arguments: list[str]) -> int:
    """W&B takes no folder whose name is not UTF-8, but a link to it."""
    [results] = [Path(argument.partition("=")[2]) for argument in arguments]
    link = results.with_name("link")
    link.symlink_to(results)
    names = sorted(path.name for path in (results / "runs").glob("[mp]*"))[-2:]
    return wandb.main([f"results_dir={link}", *names])


def one_figure(arguments: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "KINDS", [kind for kind in figures.KINDS if kind.end == "passes"])
        return figures.main(arguments)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "status": status.main,
    "tables": tables.main,
    "figures": one_figure,
    "page": page.main,
    "rescore": rescore.main,
    "wandb": wandb_of_two,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reports_the_good_ones(
    results: Path, command: str, capsys: pytest.CaptureFixture[str], quietly: None
) -> None:
    notify.cache_clear()
    code = COMMANDS[command]([f"results_dir={results}"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "Traceback" not in said.err
    if command != "wandb":  # which is asked for other runs
        assert said.err.count(f"{IDS[0]} (1).json is a record of {IDS[0]}, which does not count") == 1
    if command == "status":
        assert {line.split()[-4:][0] for line in said.out.splitlines() if line.startswith("ldsmc")} == {"2"}


def test_numbers_are_those_of_a_store_without_the_odd_ones(results: Path, tmp_path: Path) -> None:
    good(tmp_path)
    stored(tmp_path, "ldsmc", "box", IDS, particles=5, seed=1)
    found = []
    for folder in (results, tmp_path):
        assert tables.main([f"results_dir={folder}"]) == 0
        with open(folder / "tables" / "toyfaces_appendix.csv", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["method"] == "ldsmc" and row["metric"] == "psnr"]
        found.append([(row["value"], row["se"], row["n"], row["run_ids"]) for row in rows])
    assert found[0] == found[1] and len(found[0]) == 1

"""`draws=K`: many answers to one measurement, each a row of its own, in any number of commands and shards."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.records.status import Request, concluded, request, statuses
from ldsmc_bench.records.store import Store, keep, open_store, read_summary
from ldsmc_bench.running.conclude import conclude
from tests.commands import LIGHT, flawed, images, repeatable, runs, tiny, whole_run
from tests.records.kept import RUN, picture, row
from tests.test_resume import end_at

FOUR = (*LIGHT, "precision=fp64", "n_images=2", "batch_size=2", "draws=4")


def by_draw(run: Path) -> list[Path]:
    """The folders of a run's draws, as a store each."""
    return [run, *sorted((run / "draws").iterdir(), key=lambda path: int(path.name))]


def rows(run: Path) -> list[dict[str, dict[str, Any]]]:
    return [repeatable(folder) for folder in by_draw(run)]


def pictures(run: Path) -> list[dict[str, bytes]]:
    return [images(folder) for folder in by_draw(run)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(tmp_path_factory.mktemp("undisturbed"), *FOUR)


def test_each_draw_is_another_answer_to_the_same_measurement(undisturbed: Path) -> None:
    drawn = rows(undisturbed)
    assert [{record["draw"] for record in of_draw.values()} for of_draw in drawn] == [{0}, {1}, {2}, {3}]
    assert len({of_draw["test-000000"]["truth"] for of_draw in drawn}) == 1
    for image_id in drawn[0]:
        assert len({of_draw[image_id] for of_draw in pictures(undisturbed)}) == 4
    (problem,) = (undisturbed.parents[1] / "problems").iterdir()
    assert len(list((problem / "measurement").iterdir())) == 2


def test_more_draws_fill_in_and_draw_0_is_that_of_a_run_of_one(undisturbed: Path, tmp_path: Path) -> None:
    assert tiny(tmp_path, *FOUR, "draws=1").code == 0
    (run,) = runs(tmp_path)
    assert run.name == undisturbed.name, "the number of draws is no part of a run's identity"
    first = images(run)
    assert first == images(undisturbed) and repeatable(run) == repeatable(undisturbed)
    assert tiny(tmp_path, *FOUR).code == 0
    assert pictures(run) == pictures(undisturbed) and rows(run) == rows(undisturbed)
    assert tiny(tmp_path, *FOUR, "draws=2").code == 0, "fewer again: nothing is taken away"
    [status] = statuses(tmp_path / "results")
    assert (status.draws, status.done, status.missing, status.complete) == (4, 8, 0, True)


def test_shards_divide_images_and_draws(undisturbed: Path, tmp_path: Path) -> None:
    for shard in (2, 0, 1):
        assert tiny(tmp_path, *FOUR, f"shard={shard}", "shards=3", "batch_size=1").code == 0
        [status] = statuses(tmp_path / "results")
        assert status.complete == (shard == 1)
        assert (runs(tmp_path)[0] / "summary.json").exists() == status.complete
    (run,) = runs(tmp_path)
    assert pictures(run) == pictures(undisturbed), "in float64, whatever the batches"
    assert json.loads((run / "summary.json").read_text())["draws"] == 4


@pytest.mark.parametrize("moment", [11, 22])
def test_a_killed_run_ends_as_an_undisturbed_one(undisturbed: Path, tmp_path: Path, moment: int) -> None:
    done = tiny(tmp_path, *FOUR, first=partial(end_at, moment, signal.SIGKILL))
    assert done.code == -signal.SIGKILL, done.err
    assert tiny(tmp_path, *FOUR).code == 0
    (run,) = runs(tmp_path)
    assert pictures(run) == pictures(undisturbed) and rows(run) == rows(undisturbed)


def test_the_draws_of_one_image_are_one_batch_and_cost_what_images_do(tmp_path: Path) -> None:
    """A batch has one cost a row: with four rows at once, the seconds of each are a quarter of the call's.

    How long 16 draws take beside 16 images is measured by `speed draws=true`.
    """
    costs = []
    for n_images, draws in ((1, 4), (4, 1)):
        folder = tmp_path / str(draws)
        folder.mkdir()
        done = tiny(folder, *LIGHT, "particles=1", f"n_images={n_images}", f"draws={draws}", "batch_size=4")
        assert done.code == 0, done.err
        (run,) = runs(folder)
        found = [json.loads(path.read_text())["cost"] for path in run.rglob("records/*.json")]
        assert len(found) == 4 and len({cost["seconds"] for cost in found}) == 1
        costs.append([{name: value for name, value in cost.items() if name != "seconds"} for cost in found])
    assert costs[0] == costs[1] and costs[0][0]["denoiser_forward"] > 0


KNOWN = ("dataset=mixture", "variant=exact", "precision=fp64", "n_images=2", "device=cpu")


def drawn(run: Path) -> list[dict[str, Any]]:
    """All that is kept of a run's problems, but for the seconds."""
    files = [load_file(path) for path in sorted((run / "draws").glob("*/*"))]
    return [{name: values.tolist() for name, values in file.items() if name != "cost.seconds"} for file in files]


def counting(folder: Path, last: int = 0) -> None:
    """Note in a file how many rows samplers are given in this process, which is killed when they are called for the
    `last` time; then a call is of one block of two particles."""
    from ldsmc_bench.mixture import repeat

    calls = 0

    def counted(sample: Any, prior: Any, measurement: Any, *rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        with (folder / "rows").open("a") as file:
            print(len(measurement.y), file=file)
        return call_sampler(sample, prior, measurement, *rest)

    call_sampler, repeat.call_sampler = repeat.call_sampler, counted  # type: ignore[attr-defined]
    repeat.ROWS = 2 * repeat.BLOCK if last else repeat.ROWS


def rows_given(folder: Path) -> list[int]:
    """To samplers, since the last look."""
    path = folder / "rows"
    found = [int(line) for line in path.read_text().split()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run on known problems, one after the other."""
    return whole_run(tmp_path_factory.mktemp("known"), *KNOWN, "draws=120", "batch_size=1")


def test_known_problems_take_more_draws_and_make_those_alone_that_are_missing(known: Path, tmp_path: Path) -> None:
    for asked, there, made in ((60, 60, [2 * 100]), (120, 120, [2 * 50]), (60, 120, [])):
        done = tiny(tmp_path, *KNOWN, f"draws={asked}", first=partial(counting, tmp_path))
        assert done.code == 0, done.err
        (run,) = runs(tmp_path)
        assert rows_given(tmp_path) == made
        assert [record["draws"] for record in repeatable(run).values()] == [there] * 2
    assert drawn(run) == drawn(known) and repeatable(run) == repeatable(known) and images(run) == images(known)


def test_known_problems_go_on_where_they_were_killed(known: Path, tmp_path: Path) -> None:
    """In the last of six calls of a block each: the blocks of the others are there."""
    asked = (*KNOWN, "draws=120")
    done = tiny(tmp_path, *asked, first=partial(counting, tmp_path, 6))
    assert done.code == -signal.SIGKILL and rows_given(tmp_path) == [50] * 5
    assert tiny(tmp_path, *asked, first=partial(counting, tmp_path)).code == 0
    assert rows_given(tmp_path) == [50]
    (run,) = runs(tmp_path)
    assert drawn(run) == drawn(known) and repeatable(run) == repeatable(known) and images(run) == images(known)


def test_shards_of_known_problems_have_blocks_of_each(known: Path, tmp_path: Path) -> None:
    """Of 60 draws there are two blocks of each problem; the third blocks are for one shard each."""
    assert tiny(tmp_path, *KNOWN, "draws=60").code == 0
    (run,) = runs(tmp_path)
    for shard, records in enumerate(([120, 60], [120, 120])):
        more = ("draws=120", "shards=2", f"shard={shard}")
        done = tiny(tmp_path, *KNOWN, *more, first=partial(counting, tmp_path))
        assert done.code == 0, done.err
        assert rows_given(tmp_path) == [50]
        assert [record["draws"] for record in repeatable(run).values()] == records
        assert (concluded(Store(run, run.name)) is None) == (shard == 0)
    mine, whole = (np.array([one["draws"] for one in drawn(folder)]) for folder in (run, known))
    np.testing.assert_allclose(mine, whole, atol=1e-9)


def test_a_look_at_few_images_with_more_draws_leaves_a_whole_run_whole(tmp_path: Path) -> None:
    assert tiny(tmp_path, *LIGHT, "n_images=3").code == 0
    assert tiny(tmp_path, *LIGHT, "n_images=1", "draws=2").code == 0
    [status] = statuses(tmp_path / "results")
    assert (status.done, status.missing, status.complete, status.draws) == (4, 0, True, 2)


def test_a_half_made_folder_of_a_draw_blocks_nothing(undisturbed: Path, tmp_path: Path) -> None:
    assert tiny(tmp_path, *FOUR, "draws=2").code == 0
    (run,) = runs(tmp_path)
    (run / "draws" / "3").mkdir()
    (run / "draws" / "1.bak").mkdir()
    assert tiny(tmp_path, *FOUR).code == 0
    assert [images(run / "draws" / number) for number in "123"] == pictures(undisturbed)[1:]


def test_a_look_for_draws_makes_no_folder(tmp_path: Path) -> None:
    store = open_store(tmp_path, RUN, "steps: 1\n")
    keep(store, row("a"), picture("a"))
    request(store, Request((1, 1), RunLabels("m", "t", "d", particles=1, steps=1, seed=0)))
    conclude(store, ["a"], torch.device("cpu"), None)
    assert not (store.root / "draws").exists() and read_summary(store) is None


def test_a_draw_that_fails_is_named_when_the_command_ends(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, *flawed("last_row_is_nan"), "n_images=2", "draws=2", "batch_size=4")
    assert done.code != 0 and any("1 draws failed: the result is not finite (" in line for line in done.errors), (
        done.err
    )
    [status] = statuses(tmp_path / "results")
    assert (status.done, status.failed) == (3, 1)

"""Where a run ends early, by a clock and a count that the tests move."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.records.store import Store
from ldsmc_bench.run import unfinished
from ldsmc_bench.running import limits
from ldsmc_bench.running.context import Run
from ldsmc_bench.running.limits import within_limits
from ldsmc_bench.running.progress import Progress

BATCHES = [[Draw("a"), Draw("b")], [Draw("c"), Draw("d")], [Draw("e")]]
MINUTES, CALLS = 1.5, 25  # an image


def done(monkeypatch: pytest.MonkeyPatch, batches: list[list[Draw]] = BATCHES, **chosen: float | None) -> int:
    """The batches that a run with these limits gets to, each image in the same time and with the same calls."""
    progress = cast(Progress, SimpleNamespace(calls=0))
    clock = 1000.0
    monkeypatch.setattr(limits, "clock", lambda: clock)
    settings = cast(Any, SimpleNamespace(config={"time_limit": None, "call_limit": None} | chosen))
    batches_of: Iterator[Any] = within_limits(
        Run(settings, Store(Path("x"), "run"), None, [], batches), progress, clock
    )
    gone = []
    for batch in batches_of:
        clock += 60 * MINUTES * len(batch)
        progress.calls += CALLS * len(batch)
        gone.append(batch)
    return len(gone)


@pytest.mark.parametrize(
    ("chosen", "batches"),
    [
        ({}, 3),
        ({"time_limit": 7.5}, 3),
        ({"time_limit": 7}, 2),  # the last image would end at 7.5 minutes
        ({"time_limit": 5.9}, 1),
        ({"time_limit": 0.1}, 1),  # or the same command would never get on
        ({"call_limit": 125}, 3),
        ({"call_limit": 124}, 2),
        ({"call_limit": 1}, 1),
        ({"call_limit": 100, "time_limit": 5}, 1),
    ],
)
def test_no_batch_begins_that_would_exceed_a_limit(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, float], batches: int
) -> None:
    assert done(monkeypatch, **chosen) == batches


def test_one_line_shows_what_is_done_and_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done(monkeypatch, call_limit=100)
    line = "run: stopped by call_limit=100, 4 images done, 1 left; the same command goes on from here\n"
    assert capsys.readouterr().err == line
    done(monkeypatch, [[Draw("a", number)] for number in range(3)], time_limit=2)
    assert "stopped by time_limit=2, 1 draws done, 2 left;" in capsys.readouterr().err
    done(monkeypatch, call_limit=125)
    assert capsys.readouterr().err == ""


def test_what_failed_before_keeps_nothing_else_from_its_turn() -> None:
    a, b, c, d, e, f = map(Draw, "abcdef")
    left = unfinished([a, b, c, d, e, f], done={a, c, d}, tried={a, b, c, d}, batch_size=2)  # b failed
    assert left == [[e, f], [a, b]]

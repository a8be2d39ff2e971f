"""The comparison of choices of threads: they take turns, under each load, and each is printed beside the best."""

from contextlib import ExitStack
from typing import Any

import pytest

from ldsmc_bench.speed import threads


def test_choices_take_turns_and_are_printed_beside_the_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns: list[tuple[str, int]] = []
    busy = [0]

    def start(stack: ExitStack, code: str, *arguments: str, choice: Any = None) -> Any:
        if code == threads.BUSY:
            busy[0] += 1
            stack.callback(lambda: busy.__setitem__(0, busy[0] - 1))
        return next((name for name, known in threads.CHOICES.items() if known == choice), None)

    def timed(name: str) -> float:
        turns.append((name, busy[0]))
        return 1.0 + (name == "one thread") * 0.5 + busy[0] * (name == "all, long spins")

    monkeypatch.setattr(threads, "_start", start)
    monkeypatch.setattr(threads, "SETTLE", 0)
    monkeypatch.setattr(threads, "_time", timed)
    assert threads.main(["--rounds", "2", "--busy", "3"]) == 0
    names = list(threads.CHOICES)
    assert turns == [(name, load) for load in (0, 0, 3, 0, 3) for name in names]  # the first warms up
    assert capsys.readouterr().out.splitlines()[1:-1] == [
        "                        alone  beside 3 busy",
        "as chosen         1.00 (1.00)    1.00 (1.00)",
        "one thread        1.50 (1.50)    1.50 (1.50)",
        "all, no spinning  1.00 (1.00)    1.00 (1.00)",
        "all, long spins   1.00 (1.00)    4.00 (4.00)",
    ]
